# frozen_string_literal: true

require_relative "error"

module Lineside
  # Finds what tokens are signed with. The first that is there counts: LINESIDE_SECRET, the content of the file
  # LINESIDE_SECRET_FILE, the app's setting, a secret derived from the app's own key.
  module Secret
    # Shortest key of an app to derive from, in bytes: deriving adds no strength, and a token's key has 32.
    APP_KEY_BYTES_MIN = 32

    module_function

    # @return [String] comma-separated; the extension checks each entry
    # @raise [ConfigurationError] if there is none
    def of(setting, app_key)
      from_environment || listed(setting) || derived(app_key) ||
        raise(ConfigurationError, "there is no secret to sign with: set LINESIDE_SECRET, LINESIDE_SECRET_FILE or " \
                                  "config.secret to at least 32 random bytes, as `openssl rand -hex 32` prints them")
    end

    # @return [Boolean] whether {of} would find one
    def given?(setting, app_key)
      %w[LINESIDE_SECRET LINESIDE_SECRET_FILE].any? { |name| !ENV.fetch(name, "").empty? } ||
        !(listed(setting) || app_key).to_s.empty?
    end

    def from_environment
      secret, file = %w[LINESIDE_SECRET LINESIDE_SECRET_FILE].map { |name| ENV.fetch(name, "") }
      return secret unless secret.empty?

      File.read(file).strip unless file.empty?
    rescue SystemCallError => e
      raise ConfigurationError, "LINESIDE_SECRET_FILE cannot be read: #{e.message}"
    end

    def listed(setting)
      list = Array(setting).join(",")
      list unless list.empty?
    end

    def derived(app_key)
      return if app_key.to_s.empty?

      app_key.bytesize >= APP_KEY_BYTES_MIN or
        raise ConfigurationError, "the app's key has #{app_key.bytesize} bytes, too few to derive a secret from: " \
                                  "give it at least #{APP_KEY_BYTES_MIN}, or set LINESIDE_SECRET"
      Native.derive(app_key)
    end

    private_class_method :from_environment, :listed, :derived
  end
end
