# frozen_string_literal: true

require_relative "lineside/version"
require_relative "lineside/error"
require_relative "lineside/configuration"
require_relative "lineside/cable_stream"
require_relative "lineside/channel_name"
require_relative "lineside/user_id"
require_relative "lineside/session_id"
require_relative "lineside/json"
require_relative "lineside/receipt"
require_relative "lineside/link_monitor"
require_relative "lineside/execution_state"
require_relative "lineside/transactions"
require_relative "lineside/deferred"
require_relative "lineside/publisher"
require_relative "lineside/recorder"
require_relative "lineside/publishing"
require_relative "lineside/signing"
require_relative "lineside/revocation"
require_relative "lineside/abrupt_exit"
begin
  # A gem built for one platform contains one extension for each Ruby version.
  require "lineside/#{RUBY_VERSION[/\d+\.\d+/]}/lineside"
rescue LoadError
  require "lineside/lineside"
end

# Publishes from Ruby to browsers through a sidecar.
#
#   Lineside.publish("orders", { id: 7, total: 90 })
#   Lineside.publish_to(current_user, { unread: 3 })
#   Lineside.token(current_user, channels: ["orders"])
#   Lineside.disconnect(current_user)
module Lineside
  extend Publishing
  extend Signing
  extend Revocation

  autoload :TestHelper, File.expand_path("lineside/test_helper", __dir__)

  @config = Configuration.new
  @starting = Mutex.new

  class << self
    # @return [Configuration]
    attr_reader :config

    # Changes settings. After the first publication, a change replaces the link.
    # @yieldparam config [Configuration]
    # @return [void]
    # @raise [ConfigurationError] if a setting is invalid
    def configure
      yield config
      # Reads, and so checks, the variables of the environment too.
      config.environment
      config.chosen_secret&.then { |secrets| Native.check_secrets(secrets) }
      @starting.synchronize do
        @publisher&.retire
        @publisher &&= new_publisher
      end
    end

    # @return [Publisher] the publisher of this process, created on first use
    # @raise [ConfigurationError] if a setting is invalid
    def publisher
      @publisher || @starting.synchronize { @publisher ||= new_publisher }
    rescue ThreadError
      # Ruby allows no lock inside a signal handler.
      @publisher ||= new_publisher
    end

    # Replaces the publisher of this process, which goes on working.
    # @param publisher [Publisher, nil] nil to create one on next use
    # @return [Publisher, nil] the former one
    def replace_publisher(publisher)
      @starting.synchronize { @publisher.tap { @publisher = publisher } }
    end

    # Sends the unsent publications before this process ends. Waits up to a second, then logs the unconfirmed ones.
    # @return [void]
    def send_rest = @publisher&.close

    private

    def new_publisher = (config.record? ? Recorder : Publisher).new(config)
  end

  at_exit { send_rest }
  AbruptExit.install
  # Watches transactions before the first test begins one.
  ActiveSupport.on_load(:active_record) { Transactions.loaded? } if defined?(ActiveSupport.on_load)
end

require_relative "lineside/engine" if defined?(Rails::Engine)
