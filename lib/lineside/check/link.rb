# frozen_string_literal: true

module Lineside
  class Check
    # The sidecar, as this process reaches it.
    class Link
      # How long it has to answer, in seconds.
      ANSWER_SECONDS_MAX = 2

      def initialize(_app, config)
        @config = config
      end

      def sidecar
        return if status[:linked]

        status[:last_error] || "there is no answer at #{@config.link_path}; start it with `bundle exec lineside`"
      end

      def secret
        return unless status[:mismatch]

        "the sidecar verifies with another secret than the app signs with, so it refuses every token; start it with " \
          "`bundle exec lineside`, or give both the same LINESIDE_SECRET"
      end

      private

      # Once there is a link, or no more time for one.
      def status
        @status ||= begin
          publisher = Lineside.publisher.tap(&:connect)
          deadline = now + ANSWER_SECONDS_MAX
          sleep 0.01 until publisher.status[:linked] || now > deadline
          publisher.status
        end
      end

      def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
