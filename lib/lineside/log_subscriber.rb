# frozen_string_literal: true

require "active_support/log_subscriber"
require_relative "printable"

module Lineside
  # Logs each publication at level debug, as Rails logs its queries. The engine attaches it only if that level is
  # logged, because an event costs time. {LinkMonitor} logs drops and the state of the link.
  class LogSubscriber < ActiveSupport::LogSubscriber
    # Maximum number of channels in one line.
    CHANNELS_MAX = 5

    def publish(event)
      debug do
        channels = event.payload[:channels]
        more = channels.size > CHANNELS_MAX ? " and #{channels.size - CHANNELS_MAX} more" : ""
        "  #{color('Lineside', CYAN)} #{shown(channels)}#{more}: #{outcome(event.payload)} " \
          "(#{event.payload[:bytes].to_i} bytes, #{event.duration.round(2)}ms)"
      end
    end

    private

    def shown(channels) = channels.first(CHANNELS_MAX).map { |name| Printable.channel(name) }.join(", ")

    def outcome(payload)
      return "unconfirmed" if payload[:exception]&.first == Unconfirmed.name
      return "not accepted" unless payload[:accepted]
      return "waits for the commit" if payload[:deferred]

      Lineside.config.record? ? "recorded" : (queued(Lineside.publisher.status) || "accepted")
    end

    # Reason why the publication is not sent yet; nil if the link is open.
    def queued(status)
      "queued, #{status[:last_error] || 'the link is being opened'}" unless status[:linked]
    end
  end
end
