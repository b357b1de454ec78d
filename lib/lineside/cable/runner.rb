# frozen_string_literal: true

require_relative "../app_link"
require_relative "runner/hosted"

module Lineside
  module Cable
    # Runs the app's channel classes in this process, for connections that the sidecar holds (docs/protocol.md).
    # Commands come on the process's {AppLink}, whose thread never runs code of the app.
    #
    # The sidecar sends one command of a connection at a time, so there is one waiting command for each connection, and
    # another one when it closes.
    class Runner
      # Time for `unsubscribed` of all channel objects when the process stops, or when the link has ended, in seconds.
      # Afterwards, other processes run it.
      LEAVE_SECONDS_MAX = 5

      PAUSE_SECONDS = 0.01

      @starting = Mutex.new

      class << self
        # Runs channel classes in this process from now on, until it stops.
        # @param server [ActionCable::Server::Base]
        # @return [void]
        def open(server)
          @starting.synchronize do
            next if @current && !@current.forked?

            at_exit { leave } unless @current
            @current = new(server)
            AppLink.current.run_channels(@current)
            Lineside.config.logger.info("Lineside: this process runs the channels of Action Cable")
          end
        end

        # Gives the connections to other processes, before this one ends.
        # @return [void]
        def leave
          @current&.leave unless @current&.forked?
        end
      end

      # @param server [ActionCable::Server::Base]
      def initialize(server)
        @pid = Process.pid
        @server = server
        @mutex = Mutex.new
        @connections = {}
        # Connections that have closed, until their commands have been run.
        @closed = {}.compare_by_identity
        @is_leaving = false
      end

      # Takes a command. Called by the link's thread.
      #
      # @param command [Hash{String => Object}] body of the frame
      # @param link [#write] {Hosted#initialize}
      def command(command, link)
        hosted = find(command, link) or return
        hosted.command(command)
        hosted.afterwards { @mutex.synchronize { @closed.delete(hosted) } } if command["command"] == "close"
      end

      # Ends all connections, because their link has ended. Called by the link's thread.
      #
      # @param action [Symbol] {Hosted#finish} if the sidecar has ended too, {Hosted#leave} if it gives the connections
      #   to other processes, {Hosted#drop} if it asks another process to end their channel objects
      def link_ended(action)
        return if forked?

        ended = take_all
        ended.each(&action)
        wait_for(ended, clock + LEAVE_SECONDS_MAX)
      end

      # Runs `unsubscribed` of all channel objects, and gives the connections to other processes.
      def leave
        open, closed = @mutex.synchronize do
          return if @is_leaving

          @is_leaving = true
          [@connections.values, @closed.keys]
        end
        return if open.empty? && closed.empty?

        deadline = clock + LEAVE_SECONDS_MAX
        open.each(&:leave)
        report(open.size, wait_for(open + closed, deadline).size)
        AppLink.current.flush(deadline)
      end

      # @return [Boolean] whether another process created this runner
      def forked? = @pid != Process.pid

      private

      # @return [Hosted, nil] nil for a connection that was lost with an earlier link
      def find(command, link)
        id = command["connection"]
        @mutex.synchronize do
          hosted = @connections[id]
          hosted ||= @connections[id] = add(id, command["context"], link) if command["context"]
          @closed[@connections.delete(id)] = true if hosted && command["command"] == "close"
          hosted
        end
      end

      def add(id, context, link)
        Hosted.new(id, context, link, @server).tap { |hosted| hosted.leave if @is_leaving }
      end

      def take_all
        @mutex.synchronize do
          (@connections.values + @closed.keys).tap do
            @connections.clear
            @closed.clear
          end
        end
      end

      # @return [Array<Hosted>] those with commands that were not run in time
      def wait_for(connections, deadline)
        until (connections = connections.reject(&:idle?)).empty? || clock > deadline
          sleep(PAUSE_SECONDS)
        end
        connections
      end

      def report(count, busy)
        logger = Lineside.config.logger
        logger.info("Lineside: this process stops, and other processes run the channels of #{count} connections")
        return if busy.zero?

        logger.warn("Lineside: commands of #{busy} connections of Action Cable did not end within " \
                    "#{LEAVE_SECONDS_MAX} s, so other processes run `unsubscribed` of their channels")
      end

      def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
