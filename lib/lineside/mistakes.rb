# frozen_string_literal: true

module Lineside
  # Checks for likely mistakes, in development and test only.
  module Mistakes
    # Columns that no browser may see, with a value, as JSON.
    SECRET = /"(password_digest|encrypted_password)":"/

    # Methods of a record with a password: of has_secure_password, and of Devise and Sorcery.
    PASSWORDS = %i[authenticate valid_password?].freeze
    private_constant :SECRET, :PASSWORDS

    @told = {}

    class << self
      # @param json [String] JSON of a value that is not a plain Hash
      # @raise [ArgumentError] if it contains the digest of a password
      def check_data(value, json)
        column = json[SECRET, 1] if Lineside.config.mistakes?
        return unless column

        raise ArgumentError, "the JSON of a #{value.class} contains #{column}: publish only what pages may see, such " \
                             "as user.slice(:id, :name). In production this is not checked"
      end

      # Logs once for each class that its records are taken for users, unless they have a password.
      #
      # @param class_name [String]
      # @param id [String] id as a user
      def check_user(record, class_name, id, config)
        return if !config.mistakes? || @told[class_name] || PASSWORDS.any? { |method| record.respond_to?(method) }

        @told[class_name] = true
        config.logger.warn("Lineside: publish_to, token and disconnect take this #{class_name} as the user " \
                           "#{id.inspect}, beside the records of #{config.user_class}. To publish on the channel of " \
                           "a record, call publish. Ignore this line if #{class_name} records sign in")
      end
    end
  end
end
