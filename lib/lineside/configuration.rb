# frozen_string_literal: true

require "logger"
require_relative "error"
require_relative "link_path"
require_relative "secret"

module Lineside
  # The settings, for Ruby and for the sidecar: one list of names, variables and defaults. A variable that is set and
  # not empty wins over what the app says. Loads without the extension.
  class Configuration
    # @!attribute variable
    #   @return [String] the environment variable
    # @!attribute kind
    #   @return [Symbol] `:text`, `:list` (comma-separated in the environment) or `:count` (whole, from 1)
    # @!attribute default
    #   @return [Object, nil] nil where it depends on the app
    # @!attribute most
    #   @return [Integer, nil] the largest value of a `:count`
    Setting = Struct.new(:variable, :kind, :default, :most)

    SETTINGS = {
      link: Setting.new("LINESIDE_LINK", :text),
      bind: Setting.new("LINESIDE_BIND", :text, "127.0.0.1:8090"),
      admin_bind: Setting.new("LINESIDE_ADMIN_BIND", :text, "127.0.0.1:8091"),
      admin_hosts: Setting.new("LINESIDE_ADMIN_HOSTS", :list, [].freeze),
      path: Setting.new("LINESIDE_PATH", :text, "/lineside"),
      url: Setting.new("LINESIDE_URL", :text),
      allowed_origins: Setting.new("LINESIDE_ALLOWED_ORIGINS", :list, [].freeze),
      trusted_proxies: Setting.new("LINESIDE_TRUSTED_PROXIES", :list, %w[127.0.0.0/8 ::1/128].freeze),
      public_channels: Setting.new("LINESIDE_PUBLIC_CHANNELS", :list, [].freeze),
      # 8 MiB hold some 40,000 publications of 200 bytes: a minute of a busy process.
      spool_bytes_max: Setting.new("LINESIDE_SPOOL_BYTES_MAX", :count, 8 * 1024 * 1024),
      # What is a minute late is better fetched anew.
      spool_seconds_max: Setting.new("LINESIDE_SPOOL_SECONDS_MAX", :count, 60),
      # The sidecar takes no more: it is what one publication may cost each of its readers.
      payload_bytes_max: Setting.new("LINESIDE_PAYLOAD_BYTES_MAX", :count, 64 * 1024, 64 * 1024),
      # The class whose records are users, by its `base_class`.
      user_class: Setting.new("LINESIDE_USER_CLASS", :text, "User")
    }.freeze

    # What only Ruby asks for, so that no variable stands for it.
    RUBY_SETTINGS = %i[secret app_key root user_id logger user token token_expires_in parent_controller
                       identity_cookie].freeze

    # Longest life of a token, in seconds; the sidecar refuses those that were signed for longer.
    TOKEN_SECONDS_MAX = 86_400

    NAMES = [*SETTINGS.keys, *RUBY_SETTINGS].freeze

    SETTINGS.each do |name, setting|
      define_method(name) { read(setting) || @values[name] || setting.default }
      define_method(:"#{name}=") { |value| @values[name] = value.nil? ? nil : check(setting, name, value) }
    end

    # @!attribute [w] secret
    #   @return [String, Array<String>] what signs tokens: at least 32 bytes each; the first signs, all verify
    # @!attribute [w] app_key
    #   @return [String] the app's own key, such as `secret_key_base`: the secret is derived from it when none is given
    attr_writer :secret, :app_key

    # @!attribute root
    #   @return [String] the app's folder
    # @!attribute user_id
    #   @return [#call, nil] replaces the rule of {UserId}: takes the user, returns a String or an Integer
    # @!attribute user
    #   @return [Proc, nil] who a request comes from, nil for nobody; called in the context of its controller, with the
    #     controller if it takes one. Without it: `Current.user`, else `current_user`
    # @!attribute token
    #   @return [Proc, nil] what the token of a page opens, as keywords of {Signing#token}; called like `user`, also for
    #     nobody, whenever a page is rendered or gets a fresh token
    # @!attribute parent_controller
    #   @return [String, nil] the class of the app whose authentication holds for fresh tokens; without it:
    #     `ApplicationController`
    # @!attribute identity_cookie
    #   @return [Boolean] whether pages set the cookie by which a browser without a token is its user's ({Identity});
    #     true unless the app says otherwise, while it boots
    attr_accessor :root, :parent_controller, :identity_cookie
    attr_reader :user_id, :user, :token

    # What the app says by a rule of its own.
    %i[user token user_id].each do |name|
      define_method(:"#{name}=") { |rule| instance_variable_set(:"@#{name}", check_rule(name, rule)) }
    end

    # @return [Integer] seconds that a token lives when nothing else is said
    attr_reader :token_expires_in

    attr_writer :logger

    def initialize
      @values = {}
      @root = Dir.pwd
      @token_expires_in = 3600
      @identity_cookie = true
    end

    # @param seconds [Integer, ActiveSupport::Duration] from 1 to a day
    # @raise [ConfigurationError] for anything else
    def token_expires_in=(seconds)
      @token_expires_in = count(:token_expires_in, seconds, TOKEN_SECONDS_MAX)
    end

    # Takes settings by name, as an app's configuration holds them.
    # @raise [ConfigurationError] for a name that is none, with those that are
    def assign(settings)
      settings.each do |name, value|
        NAMES.include?(name.to_sym) or
          raise ConfigurationError, "#{name} is no setting of Lineside#{meant(name)}; there are #{NAMES.join(', ')}"
        public_send(:"#{name}=", value)
      end
    end

    # @return [String] the path of the link's socket
    def link_path = LinkPath.of(link, root.to_s)

    # @return [String] the secrets, comma-separated
    # @raise [ConfigurationError] if there is none
    def secret = Secret.of(@secret, @app_key)

    # @return [String, nil] the secrets that somebody chose; nil where they are derived from the app's key
    def chosen_secret = (Secret.of(@secret, nil) if Secret.given?(@secret, nil))

    # @return [Boolean] whether there is something to sign with
    def secret? = Secret.given?(@secret, @app_key)

    # @return [Logger] the app's, or one that writes to standard error
    def logger
      @logger || (defined?(Rails.logger) && Rails.logger) ||
        (@stderr_logger ||= Logger.new($stderr, progname: "lineside"))
    end

    # @return [Hash{String => String}] what the sidecar is to be told: the link, and each setting that the app has set.
    #   The secret is not among it.
    def environment
      told = SETTINGS.filter_map do |name, setting|
        [setting.variable, Array(public_send(name)).join(",")] if @values[name] || read(setting)
      end
      told.to_h.merge("LINESIDE_LINK" => "unix:#{link_path}")
    end

    # Keys are not shown.
    def inspect = "#<#{self.class} #{SETTINGS.keys.map { |name| "#{name}=#{public_send(name).inspect}" }.join(' ')}>"

    private

    # What the environment says; nil when it says nothing.
    def read(setting)
      text = ENV.fetch(setting.variable, "")
      check(setting, setting.variable, text) unless text.empty?
    end

    def check(setting, name, value)
      case setting.kind
      when :count then count(name, value, setting.most)
      when :list then (value.is_a?(String) ? value.split(",") : Array(value)).map { |entry| entry.to_s.strip }
      else value.to_s
      end
    end

    def check_rule(name, rule)
      return rule if rule.nil? || rule.is_a?(Proc) || (name == :user_id && rule.respond_to?(:call))

      raise ConfigurationError, "#{name} is #{rule.inspect[0, 64]}: give a lambda"
    end

    # The name that a mistyped one is close to.
    def meant(name)
      close = DidYouMean::SpellChecker.new(dictionary: NAMES).correct(name).first if defined?(DidYouMean)
      " (did you mean #{close}?)" if close
    end

    def count(name, value, most)
      number = value.to_s.match?(/\A\d+\z/) ? value.to_i : 0
      return number if number.positive? && (most.nil? || number <= most)

      raise ConfigurationError, "#{name} is #{value.inspect}: give a whole number from 1#{" to #{most}" if most}"
    end
  end
end
