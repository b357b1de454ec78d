# frozen_string_literal: true

require "logger"
require_relative "cursor_history"
require_relative "error"
require_relative "link_path"
require_relative "secret"
require_relative "setting_form"

module Lineside
  # Settings of the gem and of the sidecar: one list of names, environment variables and defaults. An environment
  # variable that is not empty overrides the app's value. Loads without the extension.
  class Configuration
    # @!attribute variable
    #   @return [String] the environment variable
    # @!attribute kind
    #   @return [Symbol] `:text`, `:list` (comma-separated in the environment) or `:count` (whole, from 1)
    # @!attribute default
    #   @return [Object, nil] nil if it depends on the app
    # @!attribute count_max
    #   @return [Integer, nil] maximum of a `:count`
    Setting = Struct.new(:variable, :kind, :default, :count_max)

    SETTINGS = {
      link: Setting.new("LINESIDE_LINK", :text),
      bind: Setting.new("LINESIDE_BIND", :text, "127.0.0.1:8090"),
      admin_bind: Setting.new("LINESIDE_ADMIN_BIND", :text, "127.0.0.1:8091"),
      admin_hosts: Setting.new("LINESIDE_ADMIN_HOSTS", :list, [].freeze),
      path: Setting.new("LINESIDE_PATH", :text, "/lineside"),
      cable_path: Setting.new("LINESIDE_CABLE_PATH", :text, "/cable"),
      # Without it, the sidecar requires an identity and gets no keys of Turbo.
      cable_identity: Setting.new("LINESIDE_CABLE_IDENTITY", :text),
      url: Setting.new("LINESIDE_URL", :text),
      allowed_origins: Setting.new("LINESIDE_ALLOWED_ORIGINS", :list, [].freeze),
      hosts: Setting.new("LINESIDE_HOSTS", :list, [].freeze),
      trusted_proxies: Setting.new("LINESIDE_TRUSTED_PROXIES", :list, %w[127.0.0.0/8 ::1/128].freeze),
      public_channels: Setting.new("LINESIDE_PUBLIC_CHANNELS", :list, [].freeze),
      # 8 MiB: about 40,000 publications of 200 bytes, one minute of a busy process.
      spool_bytes_max: Setting.new("LINESIDE_SPOOL_BYTES_MAX", :count, 8 * 1024 * 1024),
      # Data that is a minute late is better refetched.
      spool_seconds_max: Setting.new("LINESIDE_SPOOL_SECONDS_MAX", :count, 60),
      # Maximum of the sidecar, which sends the payload to every subscriber.
      payload_bytes_max: Setting.new("LINESIDE_PAYLOAD_BYTES_MAX", :count, 64 * 1024, 64 * 1024),
      # Class whose records are users, compared by `base_class`.
      user_class: Setting.new("LINESIDE_USER_CLASS", :text, "User")
    }.freeze

    # Settings of the gem alone, without an environment variable.
    RUBY_SETTINGS = %i[secret app_key root app_environment record user_id logger user token token_expires_in
                       parent_controller identity_cookie replica_lag].freeze

    # Maximum lifetime of a token, in seconds. The sidecar refuses tokens with a longer one.
    TOKEN_SECONDS_MAX = 86_400

    NAMES = [*SETTINGS.keys, *RUBY_SETTINGS].freeze

    SETTINGS.each do |name, setting|
      define_method(name) { read(setting) || @values[name] || setting.default }
      define_method(:"#{name}=") { |value| @values[name] = value.nil? ? nil : check(setting, name, value) }
    end

    # @!attribute [w] secret
    #   @return [String, Array<String>] secrets of at least 32 bytes each: the first signs tokens, all verify them
    # @!attribute [w] app_key
    #   @return [String] the app's own key, such as `secret_key_base`. The secret is derived from it if none is set
    attr_writer :app_key

    # @raise [ConfigurationError] for anything else
    def secret=(setting)
      @secret = Secret.check(setting)
    end

    # @!attribute root
    #   @return [String] the app's folder
    # @!attribute app_environment
    #   @return [String] name of the app's environment, part of the link's default path. Default: RAILS_ENV, else
    #     RACK_ENV, else "development", as in Rails
    # @!attribute record
    #   @return [Boolean, nil] whether publications are recorded for tests instead of sent. Default: true in the
    #     environment "test"
    # @!attribute user_id
    #   @return [#call, nil] replaces the rule of {UserId}: takes the user, returns a String or an Integer
    # @!attribute user
    #   @return [Proc, nil] returns the user of a request, nil for an anonymous one. Evaluated in the controller, which
    #     is also its argument if it takes one. Default: `Current.user`, else `current_user`
    # @!attribute token
    #   @return [Proc, nil] returns the grants of a page's token, as keywords of {Signing#token}. Evaluated like `user`,
    #     also for anonymous pages, whenever a page is rendered or gets a fresh token
    # @!attribute parent_controller
    #   @return [String, nil] class name of the controller that authenticates requests for fresh tokens. Default:
    #     `ApplicationController`
    # @!attribute identity_cookie
    #   @return [Boolean] whether pages set the cookie that identifies the user of a browser without a token
    #     ({Identity}). Default: true. Read while the app boots
    attr_accessor :root, :app_environment
    attr_reader :record, :parent_controller, :identity_cookie, :user_id, :user, :token

    # Rules, each with an example.
    RULES = { user: "-> { current_user }", token: '-> { { channels: ["news"] } }', user_id: "->(user) { user.uuid }" }
            .freeze

    RULES.each_key do |name|
      define_method(:"#{name}=") { |rule| instance_variable_set(:"@#{name}", check_rule(name, rule)) }
    end

    %i[record identity_cookie].each do |name|
      define_method(:"#{name}=") { |value| instance_variable_set(:"@#{name}", check_switch(name, value)) }
    end

    # @raise [ConfigurationError] if it is not the name of a class
    def parent_controller=(name)
      unless name.nil? || name.to_s.match?(/\A[\w:]+\z/)
        raise ConfigurationError, "parent_controller is #{name.inspect[0, 64]}: give the name of a controller, such " \
                                  "as \"ApplicationController\""
      end

      @parent_controller = name&.to_s
    end

    # @return [Integer] default lifetime of a token, in seconds
    attr_reader :token_expires_in

    # @return [Float, nil] maximum lag of a database replica, in seconds. The cursor of a request that reads from a
    #   replica is moved back by it ({RequestCursor}). nil does not move it
    attr_reader :replica_lag

    # @param logger [Logger, nil] nil for the app's
    # @raise [ConfigurationError] if it is no logger, which would fail with the first line
    define_method(:logger=) { |logger| @logger = SettingForm.logger(logger) }

    def initialize
      @values = {}
      @root = Dir.pwd
      @app_environment = ENV.values_at("RAILS_ENV", "RACK_ENV").find { |name| !name.to_s.empty? } || "development"
      @token_expires_in = 3600
      @identity_cookie = true
    end

    # @param seconds [Integer, ActiveSupport::Duration] from 1 to a day
    # @raise [ConfigurationError] for anything else
    def token_expires_in=(seconds)
      @token_expires_in = count(:token_expires_in, seconds, TOKEN_SECONDS_MAX)
    end

    # @param seconds [Numeric, ActiveSupport::Duration, nil] above 0, at most a minute
    # @raise [ConfigurationError] for anything else
    def replica_lag=(seconds)
      @replica_lag = seconds.nil? ? nil : CursorHistory.lag(seconds)
    end

    # Sets several settings by name.
    # @raise [ConfigurationError] for an unknown name, with a list of the known ones
    def assign(settings)
      settings.each do |name, value|
        NAMES.include?(name.to_sym) or
          raise ConfigurationError, "#{name} is not a setting of Lineside#{suggestion(name)}; the settings are " \
                                    "#{NAMES.join(', ')}"
        public_send(:"#{name}=", value)
      end
    end

    # @return [String] the path of the link's socket
    def link_path = LinkPath.of(link, root.to_s, app_environment)

    # @return [Boolean] whether publications are recorded instead of sent
    def record? = record.nil? ? app_environment == "test" : record

    # @return [Boolean] whether likely mistakes raise or are logged ({Mistakes})
    def mistakes? = %w[development test].include?(app_environment)

    # @return [String] the secrets, comma-separated
    # @raise [ConfigurationError] if there is none
    def secret = Secret.of(@secret, @app_key)

    # @return [String, nil] the secrets that were set explicitly; nil if they are derived from the app's key
    def chosen_secret = (Secret.of(@secret, nil) if Secret.given?(@secret, nil))

    # @return [Boolean] whether {#secret} finds one
    def secret? = Secret.given?(@secret, @app_key)

    # @return [Logger] the app's, or one that writes to standard error
    def logger
      @logger || (defined?(Rails.logger) && Rails.logger) ||
        (@stderr_logger ||= Logger.new($stderr, progname: "lineside"))
    end

    # @return [Hash{String => String}] environment variables for the sidecar: the link, and each setting that was set.
    #   Without the secret.
    def environment
      set = SETTINGS.select { |name, setting| @values[name] || read(setting) }
      variables = set.to_h { |name, setting| [setting.variable, Array(public_send(name)).join(",")] }
      variables.merge("LINESIDE_LINK" => "unix:#{link_path}")
    end

    # Omits the secrets.
    def inspect = "#<#{self.class} #{SETTINGS.keys.map { |name| "#{name}=#{public_send(name).inspect}" }.join(' ')}>"

    private

    # Value from the environment; nil if the variable is missing or empty.
    def read(setting)
      text = ENV.fetch(setting.variable, "")
      check(setting, setting.variable, text) unless text.empty?
    end

    def check(setting, name, value)
      return count(name, value, setting.count_max) if setting.kind == :count

      value = setting.kind == :list ? list(value) : value.to_s
      SettingForm.check(setting.variable, name, value)
    end

    def list(value)
      entries = value.is_a?(String) ? value.split(",") : Array(value)
      entries.map { |entry| entry.to_s.strip }.reject(&:empty?)
    end

    def check_rule(name, rule)
      return rule if rule.nil? || rule.is_a?(Proc) || (name == :user_id && rule.respond_to?(:call))

      raise ConfigurationError, "#{name} is #{rule.inspect[0, 64]}: give a lambda, such as #{RULES.fetch(name)}"
    end

    def check_switch(name, value)
      return value if [true, false].include?(value) || (name == :record && value.nil?)

      raise ConfigurationError, "#{name} is #{value.inspect[0, 64]}: give true or false"
    end

    # Hint with the known name closest to a misspelled one.
    def suggestion(name)
      close = DidYouMean::SpellChecker.new(dictionary: NAMES).correct(name).first if defined?(DidYouMean)
      " (did you mean #{close}?)" if close
    end

    def count(name, value, max)
      number = value.to_s.match?(/\A\d+\z/) ? value.to_i : 0
      return number if number.positive? && (max.nil? || number <= max)

      raise ConfigurationError, "#{name} is #{value.inspect}: give a whole number from 1#{" to #{max}" if max}"
    end
  end
end
