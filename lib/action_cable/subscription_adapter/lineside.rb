# frozen_string_literal: true

require "lineside"

module ActionCable
  module SubscriptionAdapter
    # Adapter for `adapter: lineside` in config/cable.yml. Broadcasts go to the sidecar, from every process of the app.
    # Supports Rails 6.1 and newer. `channel_prefix` is ignored: each app has a sidecar of its own.
    #
    # In tests ({::Lineside::Configuration#record?}) this is Rails' own test adapter ({Recording}).
    class Lineside < Base
      # @param server [ActionCable::Server::Base]
      # @return [Lineside, Recording]
      def self.new(server)
        equal?(Lineside) && ::Lineside.config.record? ? Recording.new(server) : super
      end

      # Publishes a message at once, also inside a transaction. Never waits for the sidecar and never raises for it: a
      # message that is not accepted is logged, as all of Lineside's publications are.
      #
      # @param name [String] name of the stream
      # @param payload [String] the message, encoded by Action Cable. It is published unchanged
      # @return [Boolean] whether it was accepted
      # @raise [ArgumentError] if the name is invalid, or if the payload is not JSON
      # @raise [::Lineside::PayloadTooLarge] if the payload has more than `payload_bytes_max` bytes
      def broadcast(name, payload)
        channel = ::Lineside::CableStream.channel(name)
        ::Lineside::CableStream.check_payload(name, payload, ::Lineside.config)
        ::Lineside.publisher.publish([[channel, ::Lineside::Json::Encoded.new(payload)]], now: true)
      end

      # Rails' test adapter, so that `assert_broadcasts`, `have_broadcasted_to` and system tests work and nothing leaves
      # the process. Raises the same errors as {Lineside} for what cannot be sent.
      class Recording < Test
        def broadcast(name, payload)
          ::Lineside::CableStream.channel(name)
          ::Lineside::CableStream.check_payload(name, payload, ::Lineside.config)
          super
        end
      end
    end
  end
end
