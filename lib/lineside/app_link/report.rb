# frozen_string_literal: true

require_relative "../printable"

module Lineside
  class AppLink
    # Log of an app link: outages, faults and lost publications. A planned restart of the sidecar logs nothing.
    class Report
      # Time without a link after which it is logged, in seconds. Longer than a planned restart.
      OUTAGE_SECONDS = 5

      # Interval of log lines about faults, in seconds.
      FAULT_SECONDS = 10

      # Maximum number of streams in a log line.
      STREAMS_MAX = 10

      def initialize
        @fault_at = -FAULT_SECONDS
        @down_at = @is_logged = nil
      end

      # The link is open.
      def up
        logger.info("Lineside: this process receives broadcasts again") if @is_logged
        @down_at = @is_logged = nil
      end

      # There is no link.
      # @param reason [String]
      def down(reason)
        @down_at ||= now
        return if @is_logged || now - @down_at < OUTAGE_SECONDS

        @is_logged = true
        logger.warn("Lineside: this process receives no broadcasts of Action Cable: #{Printable.of(reason)}. Start " \
                    "the sidecar with `bundle exec lineside`, or see its log")
      end

      # The sidecar ended the link for another reason than its planned stop.
      def fault(message)
        return if now - @fault_at < FAULT_SECONDS

        @fault_at = now
        logger.warn("Lineside: the sidecar ended the link that receives broadcasts: #{Printable.of(message)}")
      end

      # @param names [Array<String>] channels of which publications may be missing
      def lost(names)
        shown = names.first(STREAMS_MAX).map { |name| stream(name) }
        shown << "#{names.size - STREAMS_MAX} more" if names.size > STREAMS_MAX
        logger.warn("Lineside: broadcasts may be missing on the streams #{shown.join(', ')}: the sidecar was killed, " \
                    "or this process was without it for longer than its history lasts. Pages show them when they " \
                    "are loaded again")
      end

      # A callback of a subscriber raised.
      # @param name [String] the channel
      def failed(name, error)
        logger.error("Lineside: a subscriber of the stream #{stream(name)} raised #{error.class}: " \
                     "#{Printable.of(error.message)}\n#{error.backtrace&.join("\n")}")
      end

      private

      def stream(name) = Printable.channel(name.delete_prefix(CableStream::PREFIX))

      def logger = Lineside.config.logger

      def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
