# frozen_string_literal: true

require "rbconfig"
require_relative "version"

module Lineside
  # The sidecar as a child of this process: started by the gem's own command, started again when it ends by itself, and
  # stopped as planned at the end of this process. It goes on through an exec of this process, as in a server's hot
  # restart, and through nothing else: when this process is killed, it stops by itself.
  #
  # Loads neither the app nor the extension, so that a process may have it that boots no app.
  class Sidecar
    # The library's folder, and the command.
    LIBRARY = File.expand_path("..", __dir__)
    COMMAND = File.expand_path("../gem/exe/lineside", LIBRARY)
    private_constant :LIBRARY, :COMMAND

    # Names the child, and the version that it is of, to what takes this process's place.
    INHERITED = "LINESIDE_SIDECAR"
    private_constant :INHERITED

    # Pauses before it is started again: the first, doubled until the longest.
    PAUSE_SECONDS = 1
    PAUSE_SECONDS_MAX = 30

    # Who has run as long as this has started well: the next pause is the first one.
    STEADY_SECONDS = 60

    # What the sidecar takes for its drain unless LINESIDE_DRAIN_SECONDS_MAX says so, and what it is given beyond that.
    DRAIN_SECONDS = 10
    STOP_SECONDS = 5

    # From its start until it listens: the command boots the app for its settings, some seconds of it.
    BOOT_SECONDS = 15

    class << self
      # When the one that was started last should be there, on the monotonic clock; nil while there is none.
      attr_writer :booting_until

      # @return [Boolean] whether this process, or the one that it was forked from, has just started one, so that
      #   nothing is wrong yet when nobody answers
      def booting? = !@booting_until.nil? && Process.clock_gettime(Process::CLOCK_MONOTONIC) < @booting_until
    end

    # @yieldparam line [String] what an operator should know
    def initialize(&tell)
      @tell = tell
      @changing = Mutex.new
      @pause = PAUSE_SECONDS
    end

    # Starts it, unless an exec has left it here: of the same version it goes on, another's is stopped first.
    # @return [void]
    def start
      inherit
      launch unless @child&.alive?
      owner = Process.pid
      at_exit { stop if Process.pid == owner }
    end

    # Starts it whenever it ends, until {#stop} or {#pass_on}; for a thread of its own.
    # @return [void]
    def watch
      loop do
        status = @child.value
        break if @over

        @pause = PAUSE_SECONDS if now - @started_at >= STEADY_SECONDS
        @tell.call("Lineside's sidecar has ended (#{status || 'unseen'}); it is started again in #{@pause} s")
        sleep @pause
        @pause = [@pause * 2, PAUSE_SECONDS_MAX].min
        @changing.synchronize { launch unless @over }
      end
    end

    # Leaves it to what takes this process's place by exec.
    # @return [void]
    def pass_on
      @changing.synchronize { @over = true }
      ENV[INHERITED] = "#{@child.pid}:#{VERSION}" if @child.alive?
    end

    # Stops it as planned, and waits for that: as long as its drain may take, and {STOP_SECONDS}. Then it is killed.
    # @return [void]
    def stop
      @changing.synchronize { @over = true }
      signal(:TERM)
      return if @child.join(seconds_max)

      @tell.call("Lineside's sidecar did not stop within #{seconds_max} s and is killed")
      signal(:KILL)
      @child.join
    end

    private

    def inherit
      pid, version = ENV.delete(INHERITED)&.split(":")
      return unless pid

      follow(Integer(pid))
      return if version == VERSION

      stop
      @over = false
    end

    # A process group of its own: Ctrl-C in a terminal is this process's to act on.
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
      # It has ended by itself.
    end

    def seconds_max = ENV.fetch("LINESIDE_DRAIN_SECONDS_MAX", DRAIN_SECONDS).to_i + STOP_SECONDS

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
