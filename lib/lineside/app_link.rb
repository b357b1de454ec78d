# frozen_string_literal: true

require_relative "../lineside"
require_relative "app_link/connection"
require_relative "app_link/report"
require_relative "app_link/session"
require_relative "app_link/subscriptions"

module Lineside
  # Link on which this process receives publications from the sidecar, and commands for the channels that it runs.
  # Opened with the first subscription, {#run_channels} or {#decide_by_route}, by a thread of its own, which also calls
  # all callbacks, one after another: in the order of the journal. The thread reconnects when the sidecar restarts, and
  # resumes where it was. A forked child opens its own link, without the subscriptions of its parent.
  class AppLink
    # Maximum time before the next attempt to connect, in seconds.
    DELAY_SECONDS_MAX = 1.0
    DELAY_SECONDS_MIN = 0.02

    FLUSH_PAUSE_SECONDS = 0.01

    @starting = Mutex.new

    class << self
      # @return [AppLink] of this process
      def current
        @starting.synchronize do
          @current = new if @current.nil? || @current.forked?
          @current
        end
      end

      # @return [String] name of this process in logs of the sidecar. It stays the same
      def process
        own = "[#{Process.pid}]"
        # Puma changes the program's name while it runs.
        @process = "#{Printable.of(File.basename($PROGRAM_NAME))}#{own}" unless @process&.end_with?(own)
        @process
      end

      # Closes a forked child's copies of the parent's file descriptors.
      def abandon
        @current&.close_copies
        @current = nil
      end
    end

    # Prepended to Process.
    module Fork
      def _fork = super.tap { |pid| AppLink.abandon if pid.zero? }
    end
    Process.singleton_class.prepend(Fork)

    def initialize
      @pid = Process.pid
      @subscriptions = Subscriptions.new
      @report = Report.new
      @starting = Mutex.new
    end

    # Calls the callback with each publication on a channel from now on.
    #
    # @param name [String] the channel's full name
    # @param owner [Object] for {#unsubscribe_all}
    # @param callback [#call] takes the payload, a String of JSON. The link's thread calls it
    # @param confirmed [#call, nil] called once the sidecar has confirmed: by the link's thread, or at once
    # @return [void]
    # @raise [Error] if this process subscribes to too many channels
    def subscribe(name, owner, callback, confirmed = nil)
      is_live = @subscriptions.add(name, owner, callback, confirmed)
      start
      wake
      confirmed&.call if is_live
    end

    # After it, no further call of the callback begins.
    def unsubscribe(name, callback)
      @subscriptions.remove(name, callback)
      wake
    end

    # Ends all subscriptions of an owner.
    def unsubscribe_all(owner)
      @subscriptions.remove_all(owner)
      wake
    end

    # Runs channel classes from now on.
    #
    # @param runner [Cable::Runner]
    # @return [void]
    def run_channels(runner)
      @runner = runner
      start
      wake
    end

    # Sends the app's decision about connections by route in the hello of this link, which is opened again for it.
    #
    # @param decision [Hash] {TurboKeys.decision}
    # @return [void]
    def decide_by_route(decision)
      return if @decision.equal?(decision)

      @decision = decision
      start
      wake
    end

    # Waits until all frames are sent.
    # @param deadline [Float] time of the monotonic clock
    # @return [void]
    def flush(deadline)
      connection = @connection
      sleep(FLUSH_PAUSE_SECONDS) until connection.nil? || connection.sent? || now > deadline
    end

    # @return [Boolean] whether another process created this link
    def forked? = @pid != Process.pid

    def close_copies
      @connection&.close_copy
      @pipe&.each(&:close)
    end

    private

    def start
      @starting.synchronize do
        next if @thread&.alive?

        @pipe ||= IO.pipe
        @thread = Thread.new { run }
        @thread.name = "Lineside app link"
        # Suppresses Puma's warning about threads that exist before a fork.
        @thread.thread_variable_set(:fork_safe, true)
      end
    end

    # Makes the thread look for changed subscriptions.
    def wake = @pipe&.last&.write_nonblock("\0", exception: false)

    def run
      delay = DELAY_SECONDS_MIN
      # In a child that a callback has forked, this thread goes on.
      until forked?
        is_welcome = serve
        delay = is_welcome ? DELAY_SECONDS_MIN : [delay * 2, DELAY_SECONDS_MAX].min
        # At different times in the processes of an app.
        sleep(delay * rand(0.5..1.0))
      end
    end

    # Connects and serves until the link ends.
    # @return [Boolean] whether the sidecar welcomed this process
    def serve
      @connection = Connection.new(Lineside.config.link_path, @pipe.last)
      session = Session.new(@connection, @subscriptions, @report, @runner, @decision)
      session.greet
      is_welcome = true
      @report.up
      # The hello of a link says whether the process runs channels, and what the app has decided by route.
      session.turn(@pipe.first) until forked? || session.runner != @runner || session.decision != @decision
    rescue StandardError => e
      @report.down(e.message)
      is_welcome || false
    ensure
      close(session&.runner, e)
    end

    def close(runner, error)
      @subscriptions.reset
      @connection&.close
      @connection = nil
      runner&.link_ended(consequence(error))
    end

    # Consequence of the link's end for the connections whose channels this process runs.
    # @return [Symbol] for {Cable::Runner#link_ended}
    def consequence(error)
      case error
      when Connection::Refused then :leave
      when Connection::Ended then :finish
      # A link that this process has ended is a lost runner for the sidecar, which asks another one to end its objects.
      else :drop
      end
    end

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
