# frozen_string_literal: true

require_relative "error"

module Lineside
  # Forms of settings, checked when a setting is assigned or read from the environment. An app with a value that the
  # sidecar refuses does not boot. Finds what people mistype; the sidecar checks the rest.
  module SettingForm
    # @!attribute pattern
    #   @return [Regexp] form of the value, or of each entry of a list
    # @!attribute wanted
    #   @return [String] valid values with an example, for the message
    Form = Struct.new(:pattern, :wanted)

    ADDRESS = Form.new(/\A(none|(\[[\h:.]+\]|\d+(\.\d+){3}):\d{1,5})\z/,
                       "an address and a port, such as 127.0.0.1:8090, or none")

    PATH = %r{\A(?!/up\z)(/|(/[\w.~-]+)+)\z}

    # Form of each setting, by its environment variable.
    FORMS = {
      "LINESIDE_LINK" => Form.new(/\Aunix:./, "unix:PATH, such as unix:/run/app/lineside.sock"),
      "LINESIDE_BIND" => ADDRESS,
      "LINESIDE_ADMIN_BIND" => ADDRESS,
      "LINESIDE_ADMIN_HOSTS" => Form.new(/\A[\w.-]+\z/, "host names without scheme and port, such as metrics.internal"),
      "LINESIDE_PATH" => Form.new(PATH, "a path that begins with / and does not end with one, such as /lineside"),
      "LINESIDE_CABLE_PATH" => Form.new(PATH, "a path that begins with / and does not end with one, such as /cable"),
      "LINESIDE_CABLE_IDENTITY" => Form.new(/\A(required|optional)\z/, "required or optional"),
      "LINESIDE_URL" => Form.new(%r{\A((wss?|https?)://\S+|/\S*)\z},
                                 "a URL or a path, such as wss://live.example.com/lineside"),
      "LINESIDE_ALLOWED_ORIGINS" => Form.new(%r{\A(null|file://|[a-z][a-z\d+.-]*://[^\s/]+/?)\z}i,
                                             "origins with their scheme, such as https://www.example.com"),
      "LINESIDE_HOSTS" => Form.new(%r{\A(\.?[a-z\d_][\w.-]*|\[?[\h:.]*[:.][\h:.]*\]?(/\d{1,3})?)\z}i,
                                   "host names without scheme and port, or networks, such as .example.com"),
      "LINESIDE_TRUSTED_PROXIES" => Form.new(%r{\A[\h:.]*[:.][\h:.]*(/\d{1,3})?\z},
                                             "IP addresses or networks, such as 10.0.0.0/8"),
      "LINESIDE_PUBLIC_CHANNELS" => Form.new(/\A(?!user:|cable:)./,
                                             "channels not below user: and cable:, such as news or scores:*"),
      "LINESIDE_USER_CLASS" => Form.new(/\A(::)?[[:upper:]]\w*(::[[:upper:]]\w*)*\z/,
                                        "the name of a class, such as User")
    }.freeze

    module_function

    # @param variable [String] environment variable of the setting
    # @param name [String, Symbol] name for the message
    # @param value [String, Array<String>]
    # @return [String, Array<String>] the value
    # @raise [ConfigurationError] if it has another form
    def check(variable, name, value)
      form = FORMS[variable] or return value
      wrong = [*value].find { |entry| !text(entry).match?(form.pattern) } or return value

      raise ConfigurationError, "#{name} #{value.is_a?(Array) ? 'has' : 'is'} #{wrong[0, 64].inspect}: " \
                                "give #{form.wanted}"
    end

    # Bytes of a text that is not UTF-8, such as the path of a link.
    def text(entry) = entry.valid_encoding? ? entry : entry.b

    # @return [Logger, nil] the logger
    # @raise [ConfigurationError] if it is none, which would fail with the first line
    def logger(logger)
      return logger if logger.nil? || %i[debug? info warn error].all? { |name| logger.respond_to?(name) }

      raise ConfigurationError, "logger is #{logger.inspect[0, 64]}: give a Logger, such as Logger.new($stdout)"
    end

    private_class_method :text
  end
end
