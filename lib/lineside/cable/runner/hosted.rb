# frozen_string_literal: true

require_relative "../channel"
require_relative "../context"
require_relative "../variables"
require_relative "frames"
require_relative "job_queue"
require_relative "pubsub"
require_relative "web_socket"

module Lineside
  module Cable
    class Runner
      # One connection of the sidecar for which this process runs channels. Its commands run one after another, in
      # Rails' worker pool, and so do the blocks of its streams. Timers run as in Rails.
      class Hosted
        # Maximum number of messages that wait for the blocks of a connection's streams. Beyond it, the connection ends,
        # and the browser connects again.
        MESSAGES_MAX = 1_000

        # Commands of the browser, which another process runs after this one has left.
        MOVABLE = %w[subscribe message unsubscribe].freeze

        # @param id [String] of the connection
        # @param context [String] text of {Context}
        # @param link [#write] takes the kind and the body of a frame. After the link's end it does nothing
        # @param server [ActionCable::Server::Base]
        def initialize(id, context, link, server)
          @id = id
          @context = context
          @link = link
          @server = server
          @commands = JobQueue.new(server)
          @messages = JobQueue.new(server, MESSAGES_MAX)
          @web_socket = WebSocket.new(self)
          @has_left = false
          @is_disconnected = false
          @variables = Variables.new
        end

        # Runs a command after those before it.
        # @param command [Hash{String => Object}] body of the frame
        def command(command) = @commands.push { run(command) }

        # Runs a block after the messages before it. If too many wait, the connection ends. Never waits.
        def deliver(&)
          return if !@web_socket.alive? || @messages.push { work(&) }

          @web_socket.close
          Lineside.config.logger.warn("Lineside: #{MESSAGES_MAX} messages wait for the blocks of the streams of a " \
                                      "connection of Action Cable, so the browser has to connect again: do less in " \
                                      "the blocks, or raise config.action_cable.worker_pool_size")
          refuse("slow", reconnect: true)
        end

        # Calls a block after all commands have been run.
        def afterwards(&) = @commands.push(&)

        # Runs `unsubscribed` of all channel objects after the commands before it, and tells the sidecar. Then another
        # process makes them anew.
        def leave
          @commands.push do
            end_objects
            @has_left = true
            write(Frames::LEFT)
          end
        end

        # Runs `unsubscribed` of all channel objects and `disconnect`, after the commands before it. The sidecar has
        # ended, and with it the browser's socket.
        def finish
          @commands.push do
            # A connection that has left can be in another process.
            close({}) unless @has_left
          end
        end

        # Drops all channel objects without `unsubscribed`, after the commands before it.
        def drop
          @commands.push do
            @web_socket.close
            objects.each { |channel| work { Channel.drop(channel) } }
            @server.remove_connection(@connection) if @connection
          end
        end

        # @return [Boolean] whether all commands have been run
        def idle? = @commands.idle?

        # Sends a frame for the browser, unless the connection has closed or this process has left it.
        # @return [Boolean] whether it was sent
        def report(kind, **body) = @web_socket.alive? && write(kind, **body)

        private

        def write(kind, **body) = @link.write(kind, { connection: @id, **body })

        def run(command)
          case command["command"]
          when *MOVABLE then handle(command)
          when "end" then end_lost({ command["identifier"] => command["variables"] })
          when "close" then close(ended(command))
          end
        ensure
          write(Frames::DONE, id: command["id"], **changed_variables(command))
        end

        # @return [Hash{String => String, nil}] subscriptions of a `close` whose channel objects died, with variables
        def ended(command)
          variables = command["ended_variables"] || {}
          (command["ended"] || []).to_h { |identifier| [identifier, variables[identifier]] }
        end

        def changed_variables(command)
          identifier = command["identifier"]
          @variables.changes(identifier, (Channel.find(@connection, identifier) if @connection))
        end

        def handle(command)
          return write(Frames::LEFT) if @has_left
          return unless connection && @web_socket.alive?

          work { Connection.dispatch(connection, command.slice("command", "identifier", "data").compact) }
          Channel.forget(connection, command["identifier"]) if command["command"] == "unsubscribe"
        end

        def close(ended)
          end_objects
          end_lost(ended)
          disconnect unless @is_disconnected
        end

        def disconnect
          @is_disconnected = true
          work { connection.disconnect } if connection && Connection.disconnects?(connection.class)
        end

        # Ends the channel objects of this process.
        def end_objects
          # From now on the channels stop no streams of the sidecar, and transmit nothing.
          @web_socket.close
          objects.each { |channel| work { Channel.unsubscribe(connection, channel) } }
          @server.remove_connection(@connection) if @connection
        end

        # Ends channel objects that died with another process. The connection has no others then.
        # @param lost [Hash{String => String, nil}] their variables by identifier
        def end_lost(lost)
          return if lost.empty? || connection.nil?

          @web_socket.mute do
            lost.each do |identifier, variables|
              work do
                Channel.end(connection, identifier) { |channel| Variables.load(channel, variables) if variables }
              end
            end
          end
        end

        def objects = @connection ? Channel.all(@connection) : []

        # @return [ActionCable::Connection::Base, nil] nil if it cannot be made, which the browser is told
        def connection
          @connection ||= ::Rails.application.executor.wrap { make }
        rescue StandardError, ScriptError => e
          Lineside.config.logger.error("Lineside: a connection of Action Cable cannot be made again: #{e.class}, " \
                                       "#{Printable.of(e.message)}\n#{e.backtrace&.join("\n")}")
          refuse("server_restart", reconnect: true)
        end

        def make
          Context.connection(@context, @web_socket, server: @server).tap do |made|
            Connection.host(@server, made, Pubsub.new(@server.pubsub, self))
            @context = nil
          end
        rescue Context::Invalid => e
          # Caught here, because the executor reports errors to the app's error tracker.
          Lineside.config.logger.warn("Lineside: a connection of Action Cable ends: #{Printable.of(e.message)}")
          refuse("unauthorized", reconnect: false)
        end

        # Ends the connection.
        # @return [nil]
        def refuse(reason, reconnect:)
          write(Frames::TRANSMIT, text: JSON.generate(type: "disconnect", reason:, reconnect:))
          nil
        end

        def work(&) = Connection.work(@server, @connection, &)
      end
    end
  end
end
