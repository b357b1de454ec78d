# frozen_string_literal: true

require "active_support/log_subscriber"

module Lineside
  # Each publication as a line at the level debug, as Rails logs its queries. The engine attaches it only where that
  # level is logged, so that elsewhere nobody listens. What was dropped, and how the link is, {Watch} tells.
  class LogSubscriber < ActiveSupport::LogSubscriber
    # Most channels named in one line.
    CHANNELS_MAX = 5

    def publish(event)
      debug do
        channels = event.payload[:channels]
        more = channels.size > CHANNELS_MAX ? " and #{channels.size - CHANNELS_MAX} more" : ""
        "  #{color('Lineside', CYAN)} #{channels.first(CHANNELS_MAX).join(', ')}#{more}: #{outcome(event.payload)} " \
          "(#{event.payload[:bytes].to_i} bytes, #{event.duration.round(2)}ms)"
      end
    end

    private

    def outcome(payload)
      return "not accepted" unless payload[:accepted]

      payload[:deferred] ? "waits for the commit" : "accepted"
    end
  end
end
