# frozen_string_literal: true

require_relative "hand_off"
require_relative "cable/channels"
require_relative "cable/connection"
require_relative "cable/context"
require_relative "cable/opening"
require_relative "cable/puma_server"
require_relative "cable/runner"
require_relative "turbo_keys"

module Lineside
  # Serves the app's Action Cable path from the sidecar if `config/cable.yml` has `adapter: lineside`.
  #
  # Rails accepts or refuses a WebSocket request by its own rules. Then {Opening} runs the app's `connect` within the
  # request and hands the socket to the sidecar, so no thread of the app's server holds a connection. If the server's
  # sockets cannot be handed over, Rails serves the connections in the process as usual. Loaded with Action Cable.
  module Cable
    ADAPTER = "lineside"

    @lock = Mutex.new
    @deciding = Mutex.new

    class << self
      # @param config [ActionCable::Server::Configuration]
      # @return [Boolean] whether the sidecar serves the connections of this server. Tests that record publications have
      #   no sidecar
      def serves?(config) = config.cable.to_h.symbolize_keys[:adapter] == ADAPTER && !Lineside.config.record?

      # Whether the socket of a WebSocket request can be handed over. If not, the log says why, once for each reason.
      #
      # @param env [Hash] Rack environment
      # @return [Boolean]
      def hands_over?(env)
        # A check of the set-up has no socket.
        obstacle = HandOff.obstacle(env) unless env[HandOff::CHECK]
        log_obstacle(obstacle) if obstacle
        obstacle.nil?
      end

      # @return [Channels] the app's channel classes, classified on first use and again after each reload of code
      def channels
        @channels || @lock.synchronize { @channels ||= Channels.find.tap { |found| log(found) } }
      end

      # Classifies the channels again on next use.
      # @return [void]
      def forget_channels
        @channels = nil
      end

      # @return [Hash, nil] the app's decision about connections by route ({TurboKeys.decision}), made on first use. A
      #   forked worker has the decision of its parent, because it has the parent's code
      def decision
        @deciding.synchronize { @decision = TurboKeys.decision(Lineside.config) } unless defined?(@decision)
        @decision
      end

      # Sends the decision to the sidecar, if there is one.
      # @return [void]
      def decide_by_route = decision && AppLink.current.decide_by_route(decision)

      # Runs the app's channels in this process, which is one of a server, unless there is nothing to run.
      # @return [void]
      def run_channels
        server = ActionCable.server
        return unless serves?(server.config)

        decide_by_route
        # Without eager loading, classes are loaded later.
        Runner.open(server) if !::Rails.application.config.eager_load || channels.app? || channels.disconnects?
      end

      # @return [HandOff] its log lines are limited for all connections together
      def hand_off = (@hand_off ||= HandOff.new(nil))

      private

      def log_obstacle(obstacle)
        return if @lock.synchronize { (@obstacles ||= []).include?(obstacle) || !(@obstacles << obstacle) }

        Lineside.config.logger.warn("Lineside: Rails serves Action Cable in this process, because #{obstacle}")
      end

      # Reloads that change nothing are not logged.
      def log(found)
        return if found.summary == @logged

        @logged = found.summary
        Lineside.config.logger.info("Lineside: Action Cable's channels run #{Printable.of(@logged)}")
      end
    end
  end
end
