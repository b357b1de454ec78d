# frozen_string_literal: true

require "fileutils"
require "socket"
require "tmpdir"
require_relative "../binary"

module Lineside
  module SystemTest
    # Sidecar of one test process, with a link in a folder of its own. It opens no port: browsers come through the app.
    # Its link is in LINESIDE_LINK of this process, so that processes that a test starts use it too. It ends with this
    # process.
    class Sidecar
      # Time from the start until the link is open, in seconds.
      START_SECONDS_MAX = 10

      # Time for a planned stop until the sidecar is killed, in seconds.
      STOP_SECONDS_MAX = 1

      # Interval of the attempts to open the link, in seconds.
      PAUSE_SECONDS = 0.005

      # Starts the sidecar, and waits until its link is open.
      # @param config [Configuration]
      # @raise [Error] if it does not start
      def initialize(config)
        @owner = Process.pid
        @folder = Dir.mktmpdir("lineside")
        ENV["LINESIDE_LINK"] = "unix:#{File.join(@folder, 'link', 'test.sock')}"
        @path = config.link_path
        @child = Process.detach(launch(config))
        at_exit { stop }
        wait
      end

      # @return [Boolean] whether this process started it, and not a parent before its fork
      def own? = Process.pid == @owner

      # @return [String] its log, for the message of an error
      def log = File.read(log_path)

      private

      def launch(config)
        Process.spawn(variables(config), [Binary.path, "lineside"], "serve",
                      in: File::NULL, out: log_path, err: %i[child out], pgroup: true, close_others: true)
      end

      def variables(config)
        # The secret is derived from the key of the environment `test`, so the environment may have it.
        secret = config.secret? ? { "LINESIDE_SECRET" => config.secret, "LINESIDE_SECRET_FILE" => nil } : {}
        config.environment.merge(secret, "LINESIDE_BIND" => "none", "LINESIDE_ADMIN_BIND" => "none",
                                         "LINESIDE_PARENT_PID" => Process.pid.to_s)
      end

      def wait
        deadline = SystemTest.now + START_SECONDS_MAX
        until open?
          reason = @child.alive? ? nil : "ended with #{@child.value}"
          reason ||= "did not open its link within #{START_SECONDS_MAX} s" if SystemTest.now >= deadline
          raise Error, "the sidecar of the system tests #{reason}:\n#{log}" if reason

          sleep PAUSE_SECONDS
        end
      end

      def open?
        UNIXSocket.open(@path).close
        true
      rescue SystemCallError
        false
      end

      def stop
        return unless own?

        signal(:TERM)
        signal(:KILL) unless @child.join(STOP_SECONDS_MAX)
        @child.join
        FileUtils.remove_entry(@folder)
      end

      def signal(name)
        Process.kill(name, @child.pid) if @child.alive?
      rescue Errno::ESRCH
        # It has already ended.
      end

      def log_path = File.join(@folder, "sidecar.log")
    end
  end
end
