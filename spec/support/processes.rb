# frozen_string_literal: true

require "open3"
require "pty"
require "tempfile"
require "rbconfig"
require "tmpdir"

# Starts Ruby processes, and stops them after the example.
module Processes
  LIBRARY = File.join(ROOT, "lib")

  def self.included(group)
    group.after { started.each(&:stop) }
  end

  # Runs a script to its end.
  # @return [String] its output
  def ruby(script, env: {})
    output, status = Open3.capture2e(env, RbConfig.ruby, "-I", LIBRARY, stdin_data: script)
    raise "the script ended with #{status}:\n#{output}" unless status.success?

    output
  end

  # Starts a script.
  # @return [Started]
  def start_ruby(script, env: {}) = start([env, RbConfig.ruby, "-I", LIBRARY, "-e", "$stdout.sync = true\n#{script}"])

  def start(command, terminal: false, **options)
    (terminal ? InTerminal : Started).new(command, **options).tap { |process| started << process }
  end

  def started = (@started ||= [])

  # Process that writes its output to a file, so that it never blocks on a full pipe.
  class Started
    include Eventually

    attr_reader :pid

    def initialize(command, **options)
      @output = Tempfile.new("output")
      @pid = Process.spawn(*command, in: File::NULL, out: @output.path, err: %i[child out], **options)
    end

    def output = File.read(@output.path)

    # Waits until the output matches.
    # @return [MatchData]
    def written(pattern)
      eventually("the output #{pattern.inspect}") do
        output.match(pattern) || (raise "it ended with #{@status}:\n#{output}" if ended? && !output.match?(pattern))
      end
    end

    def signal(name) = Process.kill(name, @pid)

    # @return [Process::Status]
    def wait
      eventually("the end of process #{@pid}, which wrote #{output}") { ended? }
      @status
    end

    def stop
      return if ended?

      signal(:KILL)
      wait
    end

    def ended? = !!(@status ||= Process.wait2(@pid, Process::WNOHANG)&.last)
  end

  # Process in the foreground of a terminal of its own.
  class InTerminal < Started
    CTRL_C = "\x03"

    def initialize(command, **options) # rubocop:disable Lint/MissingSuper -- that starts the process without a terminal
      @written = +""
      @terminal, @keyboard, @pid = PTY.spawn(*command, options)
      Thread.new { read }
    end

    def output = @written.dup

    # Presses Ctrl-C.
    def interrupt = @keyboard.write(CTRL_C)

    private

    def read
      loop { @written << @terminal.readpartial(4096) }
    rescue EOFError, Errno::EIO
      # The processes have closed the terminal.
    end
  end
end
