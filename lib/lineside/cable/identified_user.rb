# frozen_string_literal: true

require_relative "../kind"
require_relative "../session_id"
require_relative "../user_id"

module Lineside
  module Cable
    # User and session of a connection, by what it is identified by. {Revocation#disconnect} ends connections by them.
    #
    # The user is `current_user` or `user` if the connection is identified by one of them, else the first identifier
    # that is a record of `config.lineside.user_class`. The session is `current_session` or `session`.
    class IdentifiedUser
      USERS = %i[current_user user].freeze
      SESSIONS = %i[current_session session].freeze

      @logged = {}

      class << self
        # @return [Hash{String => true}] names of classes that the log has named
        attr_reader :logged
      end

      # @param identified [Hash{Symbol => Object}] {Connection.identified}
      def initialize(identified)
        @identified = identified
      end

      # @return [String, nil] id by {UserId}; nil if there is no user. A value without an id, such as a guest, is none,
      #   which is logged once for each class
      def id
        user = named(USERS) || @identified.each_value.find { |value| user?(value) }
        user && UserId.of(user, Lineside.config)
      rescue StandardError => e
        # Includes errors of the app's rule, which has seen signed-in users only.
        log(user, e)
      end

      # @return [String, nil] id by {SessionId}; nil if there is none
      def session_id
        session = named(SESSIONS)
        session && SessionId.of(session)
      rescue ArgumentError
        nil
      end

      private

      def named(names) = @identified.values_at(*names).compact.first

      def log(user, error)
        return if self.class.logged[user.class.name]

        self.class.logged[user.class.name] = true
        Lineside.config.logger.warn("Lineside: disconnect does not end connections of Action Cable that are " \
                                    "identified by a #{user.class}: #{Printable.of(error.message)}")
        nil
      end

      def user?(value) = Kind.class_name(value) == Kind.base_name(Lineside.config.user_class)
    end
  end
end
