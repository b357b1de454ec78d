# frozen_string_literal: true

require_relative "error"

module Lineside
  # Secret that signs tokens. The first of these that is set: LINESIDE_SECRET, the content of the file in
  # LINESIDE_SECRET_FILE, the app's setting, a secret derived from the app's own key.
  module Secret
    # Minimum length of an app's key, in bytes: a derived secret is no stronger than the key, and tokens need 32 bytes.
    APP_KEY_BYTES_MIN = 32

    # Maximum size of a secret, in bytes, as in the sidecar. A larger file is another one.
    BYTES_MAX = 16 * 1024

    module_function

    # @param setting [String, Array<String>, nil] the app's setting
    # @return [String, Array<String>, nil] the setting
    # @raise [ConfigurationError] for anything else. The text of a lambda differs between processes and can be guessed
    def check(setting)
      wrong = Array(setting).reject { |secret| secret.is_a?(String) && text?(secret) }
      return setting if wrong.empty?

      # The value is not shown, because it may be secret.
      found = wrong.first.is_a?(String) ? "text that is not UTF-8" : "a #{wrong.first.class}"
      raise ConfigurationError, "secret contains #{found}: give a String, or an Array of them, such as " \
                                "Rails.application.credentials.lineside_secret"
    end

    # @return [String] the secrets, comma-separated; the extension checks each of them
    # @raise [ConfigurationError] if there is none
    def of(setting, app_key)
      from_environment || listed(setting) || derived(app_key) ||
        raise(ConfigurationError, "there is no secret to sign tokens: set LINESIDE_SECRET, LINESIDE_SECRET_FILE or " \
                                  "config.secret to at least 32 random bytes, such as from `openssl rand -hex 32`")
    end

    # @return [Boolean] whether {of} finds one
    def given?(setting, app_key)
      %w[LINESIDE_SECRET LINESIDE_SECRET_FILE].any? { |name| !ENV.fetch(name, "").empty? } ||
        !(listed(setting) || app_key).to_s.empty?
    end

    def from_environment
      secret, file = %w[LINESIDE_SECRET LINESIDE_SECRET_FILE].map { |name| ENV.fetch(name, "") }
      return secret unless secret.empty?

      read(file) unless file.empty?
    end

    # @raise [ConfigurationError] if the file cannot be read, is too large or is not text
    def read(file)
      text = File.open(file) { |opened| opened.read(BYTES_MAX + 1) }.to_s.force_encoding(Encoding::UTF_8)
      raise invalid(file, "has more than #{BYTES_MAX} bytes: is it another file?") if text.bytesize > BYTES_MAX

      text.valid_encoding? or
        raise invalid(file, "is not UTF-8: write the secret as text, such as from `openssl rand -hex 32`")
      text.strip
    rescue SystemCallError => e
      raise invalid(file, "cannot be read: #{e.class.new.message}")
    end

    def invalid(file, reason) = ConfigurationError.new("LINESIDE_SECRET_FILE is #{file}, which #{reason}")

    def text?(secret) = secret.dup.force_encoding(Encoding::UTF_8).valid_encoding?

    def listed(setting)
      list = Array(setting).join(",")
      list unless list.empty?
    end

    def derived(app_key)
      return if app_key.to_s.empty?

      app_key.bytesize >= APP_KEY_BYTES_MIN or
        raise ConfigurationError, "the app's key has #{app_key.bytesize} bytes, too few to derive a secret: " \
                                  "use a key of at least #{APP_KEY_BYTES_MIN} bytes, or set LINESIDE_SECRET"
      Native.derive(app_key)
    end

    private_class_method :from_environment, :read, :invalid, :text?, :listed, :derived
  end
end
