# frozen_string_literal: true

module Lineside
  # Ids of sessions, in tokens and in disconnect. A String, a Symbol or an Integer is the id itself, and a record has
  # its `id`. Rails' own `session` is identified by the digest under which Rails stores it: pages can read their tokens,
  # and must not learn the value of the session cookie.
  module SessionId
    module_function

    # @param session [String, Symbol, Integer, #id]
    # @return [String] the id
    # @raise [ArgumentError] if the session is nil, blank, unsaved or not loaded, or if its id is too long
    def of(session)
      id = plain(session)
      max = Native::SESSION_ID_BYTES_MAX
      return id if ChannelName.utf8?(id) && id.bytesize.between?(1, max)

      raise ArgumentError, "cannot use #{id.inspect[0, 64]} as the id of a session: give 1 to #{max} bytes of UTF-8"
    end

    def plain(session)
      case session
      when String, Symbol, Integer then session.to_s
      else
        return session.private_id if session.respond_to?(:private_id)
        return plain(session.id) if session.respond_to?(:id)

        raise ArgumentError, "a #{session.class} is no session: give the id that its token was made with"
      end
    end

    private_class_method :plain
  end
end
