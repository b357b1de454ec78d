# frozen_string_literal: true

require "rbconfig"
require_relative "version"

module Lineside
  # Sidecar as a child process: started with the gem's command, restarted if it ends, and stopped gracefully at the end
  # of this process. It keeps running through an exec of this process, such as a hot restart of Puma. If this process is
  # killed, the sidecar stops itself.
  #
  # Loads neither the app nor the extension, so that Puma's master can run it without booting the app.
  class Sidecar
    # Paths of the library and of the command.
    LIBRARY = File.expand_path("..", __dir__)
    COMMAND = File.expand_path("../gem/exe/lineside", LIBRARY)
    private_constant :LIBRARY, :COMMAND

    # Environment variable with process id and version of a sidecar that was left running at an exec.
    INHERITED = "LINESIDE_SIDECAR"
    private_constant :INHERITED

    # Delay before a restart of the sidecar, in seconds: doubles from the minimum to the maximum.
    RESTART_DELAY_SECONDS_MIN = 1
    RESTART_DELAY_SECONDS_MAX = 30

    # Running time after which the delay is reset to its minimum, in seconds.
    STEADY_SECONDS = 60

    # Default of LINESIDE_DRAIN_SECONDS_MAX, and the time allowed beyond the drain before the sidecar is killed.
    DRAIN_SECONDS = 10
    STOP_SECONDS = 5

    # Time from the start until the sidecar listens, in seconds. Includes booting the app for its settings.
    BOOT_SECONDS = 15

    class << self
      # Time on the monotonic clock by which the sidecar started last should listen; nil if none was started.
      attr_writer :booting_until

      # @return [Boolean] whether this process, or a parent before its fork, started a sidecar less than {BOOT_SECONDS}
      #   ago, so that a failed connect is no fault yet
      def booting? = !@booting_until.nil? && Process.clock_gettime(Process::CLOCK_MONOTONIC) < @booting_until
    end

    # @yieldparam line [String] a message for the log
    def initialize(&log)
      @log = log
      @changing = Mutex.new
      @restart_delay = RESTART_DELAY_SECONDS_MIN
    end

    # Starts the sidecar. After an exec, keeps the one left running if it has the same version, otherwise stops it
    # first.
    # @return [void]
    def start
      inherit
      launch unless @child&.alive?
      owner = Process.pid
      at_exit { stop if Process.pid == owner }
    end

    # Restarts the sidecar whenever it ends, until {#stop} or {#leave_running}. Runs in a thread of its own.
    # @return [void]
    def supervise
      loop do
        status = @child.value
        break if @over

        @restart_delay = RESTART_DELAY_SECONDS_MIN if now - @started_at >= STEADY_SECONDS
        @log.call("Lineside: the sidecar ended (#{status || 'status unknown'}); restart in #{@restart_delay} s")
        sleep @restart_delay
        @restart_delay = [@restart_delay * 2, RESTART_DELAY_SECONDS_MAX].min
        @changing.synchronize { launch unless @over }
      end
    end

    # Leaves the sidecar running for the program that replaces this process by exec.
    # @return [void]
    def leave_running
      end_supervision
      ENV[INHERITED] = "#{@child.pid}:#{VERSION}" if @child.alive?
    end

    # Stops the sidecar gracefully and waits for its drain and {STOP_SECONDS}. Then kills it. Works in a signal handler.
    # Signals only once if it is called again meanwhile, because a second signal would end the drain.
    # @return [void]
    def stop
      end_supervision
      signal(:TERM) unless @stopping.equal?(@child)
      @stopping = @child
      return if @child.join(seconds_max)

      @log.call("Lineside: the sidecar did not stop within #{seconds_max} s and is killed")
      signal(:KILL)
      @child.join
    end

    private

    # Waits until a start under way is complete, and prevents further ones. The lock is taken by a thread of its own:
    # Ruby allows none in a signal handler, in which Puma stops on SIGTERM.
    def end_supervision = Thread.new { @changing.synchronize { @over = true } }.join

    def inherit
      pid, version = ENV.delete(INHERITED)&.split(":")
      return unless pid

      follow(Integer(pid))
      return if version == VERSION

      stop
      @over = false
    end

    # Starts the sidecar in a process group of its own, so that Ctrl-C in a terminal reaches this process only.
    def launch
      self.class.booting_until = now + BOOT_SECONDS
      variables = { "LINESIDE_PARENT_PID" => Process.pid.to_s }
      command = [RbConfig.ruby, "-I", LIBRARY, COMMAND, "serve"]
      follow(Process.spawn(variables, *command, in: File::NULL, pgroup: true, close_others: true))
    end

    def follow(pid)
      @started_at = now
      @child = Process.detach(pid)
    end

    def signal(name)
      Process.kill(name, @child.pid) if @child.alive?
    rescue Errno::ESRCH
      # The sidecar has already ended.
    end

    def seconds_max = ENV.fetch("LINESIDE_DRAIN_SECONDS_MAX", DRAIN_SECONDS).to_i + STOP_SECONDS

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
