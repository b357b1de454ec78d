# frozen_string_literal: true

module Lineside
  # Sends the unsent publications before `exit!`, `exec` and `Process.daemon`, which run no exit hooks. Many job runners
  # end a forked child with `exit!`. Waits up to a second, and only in a process that has unsent publications.
  module AbruptExit
    # Prepended to Process and Kernel, which define these methods.
    module Ends
      def exit!(...)
        AbruptExit.send_rest
        super
      end

      def exec(...)
        AbruptExit.send_rest
        super
      end
    end

    # Prepended to Kernel for calls without a receiver.
    module PrivateEnds
      include Ends

      private :exit!, :exec
    end

    # Prepended to Process. The parent of the daemon ends.
    module Daemon
      def daemon(...)
        AbruptExit.send_rest
        super
      end
    end

    class << self
      def install
        Process.singleton_class.prepend(Ends, Daemon)
        Kernel.singleton_class.prepend(Ends)
        Kernel.prepend(PrivateEnds)
      end

      # Never prevents the end of the process.
      def send_rest
        Cable::Runner.leave if defined?(Cable::Runner)
        Lineside.send_rest
      rescue StandardError => e
        warn("Lineside: unsent publications may be lost: #{e.message}")
      end
    end
  end
end
