# frozen_string_literal: true

require_relative "hand_off"
require_relative "cable/channels"
require_relative "cable/connection"
require_relative "cable/context"
require_relative "cable/opening"
require_relative "cable/puma_server"
require_relative "cable/runner"

module Lineside
  # Serves the app's Action Cable path from the sidecar if `config/cable.yml` has `adapter: lineside`.
  #
  # Rails accepts or refuses a WebSocket request by its own rules. Then {Opening} runs the app's `connect` within the
  # request and hands the socket to the sidecar, so no thread of the app's server holds a connection. Loaded with Action
  # Cable.
  module Cable
    ADAPTER = "lineside"

    @lock = Mutex.new

    class << self
      # @param config [ActionCable::Server::Configuration]
      # @return [Boolean] whether the sidecar serves the connections of this server. Tests that record publications have
      #   no sidecar
      def serves?(config) = config.cable.to_h.symbolize_keys[:adapter] == ADAPTER && !Lineside.config.record?

      # @return [Channels] the app's channel classes, classified on first use and again after each reload of code
      def channels
        @channels || @lock.synchronize { @channels ||= Channels.find.tap { |found| log(found) } }
      end

      # Classifies the channels again on next use.
      # @return [void]
      def forget_channels
        @channels = nil
      end

      # Runs the app's channels in this process, which is one of a server, unless there is nothing to run.
      # @return [void]
      def run_channels
        server = ActionCable.server
        return unless serves?(server.config)

        # Without eager loading, classes are loaded later.
        Runner.open(server) if !::Rails.application.config.eager_load || channels.app? || channels.disconnects?
      end

      # @return [HandOff] its log lines are limited for all connections together
      def hand_off = (@hand_off ||= HandOff.new(nil))

      private

      # Reloads that change nothing are not logged.
      def log(found)
        return if found.summary == @logged

        @logged = found.summary
        Lineside.config.logger.info("Lineside: Action Cable's channels run #{Printable.of(@logged)}")
      end
    end
  end
end
