# frozen_string_literal: true

module Lineside
  module Cable
    # Private structure of Action Cable that Lineside depends on. No other file touches it.
    #
    # Up to Rails 8.1 the app's connection owns the WebSocket and answers the request. From Rails 8.2 on,
    # `ActionCable::Server::Socket` does, and has the app's connection. {holder} is the object that owns the WebSocket.
    module Connection
      # Prepended to the class of the holder.
      module Accepting
        private

        # Called by Rails for a WebSocket request with an allowed origin.
        def respond_to_successful_request
          return super unless Cable.serves?(server.config)

          Opening.new(self).answer { logger.info successful_request_message }
        end
      end

      # Prepended to `ActionCable::Server::Base`.
      module Heartbeats
        # The sidecar sends the pings, so the server needs no timer.
        def setup_heartbeat_timer
          super unless Cable.serves?(config)
        end
      end

      # Stands for the WebSocket while `connect` runs: the socket still belongs to the app's server.
      class Unopened
        # @return [String, nil] subprotocol that the browser will get
        attr_reader :protocol

        def initialize(protocol)
          @protocol = protocol
          @alive = true
        end

        def possible? = true

        # @return [Boolean] whether the connection has not closed itself
        def alive? = @alive

        # Drops the message: the browser can receive nothing before the welcome.
        def transmit(_message) = false

        def close(*)
          @alive = false
        end
      end

      class << self
        # @return [void]
        def install
          holder_class.prepend(Accepting)
          ActionCable::Server::Base.prepend(Heartbeats)
        end

        # @param holder [Object] owner of the WebSocket
        # @return [ActionCable::Connection::Base] the app's connection
        def of(holder) = split? ? holder.connection : holder

        # Runs the app's `connect`, as Rails does after the upgrade.
        #
        # @param holder [Object] owner of the WebSocket
        # @return [Boolean] whether the connection may be opened: `connect` did not reject or close it
        def connect(holder)
          websocket = Unopened.new(holder.send(:websocket).protocol)
          attach(holder, websocket)
          connection = of(holder)
          # Up to Rails 8.1, a private `connect` is not called.
          connection.send(:connect) if connection.respond_to?(:connect, split?)
          websocket.alive?
        rescue ActionCable::Connection::Authorization::UnauthorizedError
          false
        end

        # @param connection [ActionCable::Connection::Base]
        # @return [Hash{Symbol => Object}] what the connection is identified by, in the order of `identified_by`
        def identified(connection)
          connection.identifiers.to_h { |name| [name.to_sym, connection.instance_variable_get(:"@#{name}")] }
        end

        # Creates a connection that has already been connected. `connect` is not run.
        #
        # @param server [ActionCable::Server::Base]
        # @param env [Hash] Rack environment
        # @param identified [Hash{Symbol => Object}] from {identified}
        # @param websocket [#transmit, #close, #alive?, #protocol] takes the place of Rails' WebSocket. `transmit` takes
        #   JSON
        # @return [ActionCable::Connection::Base] of the app's class
        def build(server, env, identified, websocket)
          holder = holder_of(server, env)
          attach(holder, websocket)
          of(holder).tap do |connection|
            # Not by the writers, which the app can override.
            identified.each { |name, value| connection.instance_variable_set(:"@#{name}", value) }
          end
        end

        private

        def split? = ActionCable::Server.const_defined?(:Socket, false)

        def holder_class = split? ? ActionCable::Server::Socket : ActionCable::Connection::Base

        def holder_of(server, env)
          (split? ? ActionCable::Server::Socket : server.config.connection_class.call).new(server, env)
        end

        # Rails sets the protocol after the upgrade, before `connect`.
        def attach(holder, websocket)
          holder.instance_variable_set(:@websocket, websocket)
          holder.instance_variable_set(:@protocol, websocket.protocol)
        end
      end
    end
  end
end
