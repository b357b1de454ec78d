# frozen_string_literal: true

require_relative "streams_channel"

module Turbo
  # Stand-in for the view helpers of turbo-rails.
  module StreamsHelper
    def turbo_stream_from(*streamables, **attributes)
      raise ArgumentError, "streamables can't be blank" unless streamables.any?(&:present?)

      attributes[:channel] = attributes[:channel]&.to_s || "Turbo::StreamsChannel"
      attributes[:"signed-stream-name"] = Turbo::StreamsChannel.signed_stream_name(streamables)

      tag.turbo_cable_stream_source(**attributes)
    end
  end
end

# turbo-rails adds its helpers in the same way.
ActiveSupport.on_load(:action_controller_base) { helper Turbo::StreamsHelper }
