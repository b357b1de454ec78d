# frozen_string_literal: true

require "json"
require_relative "../app_link/connection"

module Lineside
  module SystemTest
    # Asks the sidecar which connections have not applied everything that was published (docs/protocol.md, "Settling").
    module Laggards
      # Kinds of frames.
      SETTLE = 19
      FAULT = 134
      SETTLED = 149

      # Time for the answer beyond the wait of the sidecar, in seconds.
      ANSWER_SECONDS_MAX = 2

      module_function

      # Waits until all connections have applied everything, or until the time is over.
      # @param path [String] path of the link's socket
      # @param seconds [Float]
      # @return [Array<String>] a line for each connection that has not
      # @raise [AppLink::Connection::Ended] if the sidecar does not answer
      def after(path, seconds)
        link = AppLink::Connection.new(path)
        link.write(SETTLE, { timeout_ms: (seconds * 1000).ceil })
        lines(answer(link, SystemTest.now + seconds + ANSWER_SECONDS_MAX))
      ensure
        link&.close
      end

      def answer(link, deadline)
        while link.wait(nil, [deadline - SystemTest.now, 0].max)
          kind, body = link.take_frames.first
          return JSON.parse(body) if kind == SETTLED
          raise AppLink::Connection::Ended, body.byteslice(2..).force_encoding("UTF-8").scrub if kind == FAULT
        end
        raise AppLink::Connection::Ended, "it did not answer"
      end

      def lines(settled)
        lines = settled["laggards"].map { |laggard| line(laggard) }
        more = settled["more"]
        more.positive? ? [*lines, "#{more} more connections"] : lines
      end

      def line(laggard)
        user = laggard["user"]
        channels = laggard["channels"]
        "connection #{laggard['connection']} of #{user ? "user #{user}" : 'nobody'} (#{laggard['protocol']} from " \
          "#{laggard['address']}; #{channels.empty? ? 'no channels' : channels.sort.join(', ')}) #{laggard['reason']}"
      end

      private_class_method :answer, :lines, :line
    end
  end
end
