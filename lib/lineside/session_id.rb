# frozen_string_literal: true

module Lineside
  # The one rule for a session's id, in tokens and in disconnect: a String, a Symbol or an Integer as it is; a record by
  # its id; Rails' own `session` by the digest that Rails itself stores it under, since pages can read their tokens and
  # must not learn what the session's cookie holds.
  module SessionId
    # Longest id, in bytes.
    BYTES_MAX = 255

    module_function

    # @param session [String, Symbol, Integer, #id]
    # @return [String] the id
    # @raise [ArgumentError] for nil, for what is blank or not saved or loaded yet, and for an id that is too long
    def of(session)
      id = plain(session)
      return id if ChannelName.utf8?(id) && id.bytesize.between?(1, BYTES_MAX)

      raise ArgumentError, "the id of a session cannot be #{id.inspect[0, 64]}: give 1 to #{BYTES_MAX} bytes of UTF-8"
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
