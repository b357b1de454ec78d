# frozen_string_literal: true

module Lineside
  module Cable
    # Private structure of Action Cable that Lineside depends on. No other file touches it.
    #
    # Up to Rails 8.1 the app's connection owns the WebSocket and answers the request. From Rails 8.2 on,
    # `ActionCable::Server::Socket` does, and has the app's connection. {holder} is the object that owns the WebSocket.
    module Connection
      # Methods that Rails calls for each message of a stream. {Channels#direct?} looks for changed ones.
      STREAMING = %i[transmit encode].freeze

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

      # Prepended to `ActionCable::Connection::Base`.
      module Hosting
        # @return [Object] in a connection that a {Runner} runs, its {Runner::Pubsub}
        def pubsub = @lineside_pubsub || super
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
          ActionCable::Connection::Base.prepend(Hosting)
          ActiveSupport.on_load(:action_cable_channel) { prepend(Channel::Streams) }
        end

        # @param holder [Object] owner of the WebSocket
        # @return [ActionCable::Connection::Base] the app's connection
        def of(holder) = split? ? holder.connection : holder

        # @param connection [ActionCable::Connection::Base]
        # @return [Object] owner of the WebSocket
        def holder(connection) = split? ? connection.send(:socket) : connection

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
        # @param websocket [#transmit, #close, #alive?, #possible?, #protocol] takes the place of Rails' WebSocket.
        #   `transmit` takes JSON
        # @return [ActionCable::Connection::Base] of the app's class
        def build(server, env, identified, websocket)
          holder = new_holder(server, env)
          attach(holder, websocket)
          of(holder).tap do |connection|
            # Not by the writers, which the app can override.
            identified.each { |name, value| connection.instance_variable_set(:"@#{name}", value) }
          end
        end

        # Makes a connection one of a {Runner}. Rails lists it among those of the server, and closes it when the server
        # restarts, as before a reload of code.
        #
        # @param server [ActionCable::Server::Base]
        # @param pubsub [Runner::Pubsub]
        def host(server, connection, pubsub)
          connection.instance_variable_set(:@lineside_pubsub, pubsub)
          server.add_connection(connection)
        end

        # Runs a command as Rails runs one that arrives from a browser.
        #
        # @param command [Hash{String => String}] `command`, `identifier`, `data`
        def dispatch(connection, command) = holder(connection).dispatch_websocket_message(JSON.generate(command))

        # @param connection [Class] the app's class of connections
        # @return [Boolean] whether it has a `disconnect` of its own
        def disconnects?(connection)
          # Up to Rails 8.1, a private `disconnect` is not called.
          is_defined = connection.method_defined?(:disconnect) ||
                       (split? && connection.private_method_defined?(:disconnect))
          is_defined && connection.instance_method(:disconnect).owner != ActionCable::Connection::Base
        end

        # Runs a block in a thread of the worker pool.
        # @param server [ActionCable::Server::Base]
        def post(server, &)
          # A restart of the server replaces the pool under this lock.
          server.mutex.synchronize { server.worker_pool.executor.post(&) }
        end

        # Runs the block as Rails runs a command: in the app's executor, with the callbacks of the worker pool. Errors
        # are logged.
        #
        # @param server [ActionCable::Server::Base]
        # @param connection [ActionCable::Connection::Base]
        def work(server, connection)
          has_run = false
          block = lambda do
            has_run = true
            yield
          end
          # A pool that stops meanwhile runs nothing, and the server has a new one.
          2.times { server.worker_pool.invoke(block, :call, connection: holder(connection)) unless has_run }
        end

        private

        def split? = ActionCable::Server.const_defined?(:Socket, false)

        def holder_class = split? ? ActionCable::Server::Socket : ActionCable::Connection::Base

        def new_holder(server, env)
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
