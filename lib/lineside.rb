# frozen_string_literal: true

require_relative "lineside/version"
require_relative "lineside/error"
require_relative "lineside/configuration"
require_relative "lineside/channel_name"
require_relative "lineside/user_id"
require_relative "lineside/session_id"
require_relative "lineside/json"
require_relative "lineside/receipt"
require_relative "lineside/watch"
require_relative "lineside/transactions"
require_relative "lineside/held"
require_relative "lineside/publisher"
require_relative "lineside/publishing"
require_relative "lineside/signing"
require_relative "lineside/sign_out"
begin
  # A gem built for one platform holds an extension for each Ruby.
  require "lineside/#{RUBY_VERSION[/\d+\.\d+/]}/lineside"
rescue LoadError
  require "lineside/lineside"
end

# Publishes from Ruby to browsers, through a sidecar.
#
#   Lineside.publish("orders", { id: 7, total: 90 })
#   Lineside.publish_to(current_user, { unread: 3 })
#   Lineside.token(current_user, channels: ["orders"])
#   Lineside.disconnect(current_user)
module Lineside
  extend Publishing
  extend Signing
  extend SignOut

  @config = Configuration.new
  @starting = Mutex.new

  class << self
    # @return [Configuration]
    attr_reader :config

    # Changes settings: before the first publication, or later at the price of a new link.
    # @yieldparam config [Configuration]
    # @return [void]
    # @raise [ConfigurationError] if a setting cannot be used
    def configure
      yield config
      config.chosen_secret&.then { |secrets| Native.check_secrets(secrets) }
      @starting.synchronize do
        @publisher&.retire
        @publisher &&= Publisher.new(config)
      end
    end

    # @return [Publisher] what everything is published through
    # @raise [ConfigurationError] if a setting cannot be used
    def publisher
      @publisher || @starting.synchronize { @publisher ||= Publisher.new(config) }
    rescue ThreadError
      # Inside a signal handler, where Ruby lets nobody lock.
      @publisher ||= Publisher.new(config)
    end
  end

  at_exit { @publisher&.close }
end

require_relative "lineside/engine" if defined?(Rails::Engine)
