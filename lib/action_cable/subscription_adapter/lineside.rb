# frozen_string_literal: true

require "lineside/app_link"

module ActionCable
  module SubscriptionAdapter
    # Adapter for `adapter: lineside` in config/cable.yml. Broadcasts go to the sidecar, from every process of the app,
    # and subscriptions receive them on the process's {::Lineside::AppLink}. Supports Rails 6.1 and newer.
    # `channel_prefix` is ignored: each app has a sidecar of its own.
    #
    # In tests ({::Lineside::Configuration#record?}) this is Rails' own test adapter ({Recording}), which sends in
    # system tests only.
    class Lineside < Base
      # @param server [ActionCable::Server::Base]
      # @return [Lineside, Recording]
      def self.new(server)
        equal?(Lineside) && in_tests? ? Recording.new(server) : super
      end

      # The server keeps one adapter, whichever test runs first.
      def self.in_tests? = ::Lineside.config.record? || ::Lineside.const_defined?(:SystemTest, false)
      private_class_method :in_tests?

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

      # Calls the callback with each message of a stream. One thread calls all callbacks, in the order of broadcasts.
      #
      # @param name [String] name of the stream
      # @param callback [#call] takes the message, a String of JSON
      # @param success_callback [#call, nil] called once the sidecar has confirmed: every later broadcast arrives
      # @raise [ArgumentError] if the name is invalid
      # @raise [::Lineside::Error] if this process subscribes to too many streams
      def subscribe(name, callback, success_callback = nil)
        channel = ::Lineside::CableStream.channel(name)
        ::Lineside::AppLink.current.subscribe(channel, self, callback, success_callback)
      rescue ArgumentError, ::Lineside::Error => e
        # Up to Rails 8.1, Action Cable subscribes in a thread that drops errors.
        logger.error(e.message)
        raise
      end

      # After it, no further call of the callback begins.
      def unsubscribe(name, callback)
        ::Lineside::AppLink.current.unsubscribe("#{::Lineside::CableStream::PREFIX}#{name}", callback)
      end

      # Ends the subscriptions of this adapter. Waits for no callback.
      def shutdown = ::Lineside::AppLink.current.unsubscribe_all(self)

      # Rails' test adapter, so that `assert_broadcasts` and `have_broadcasted_to` work and nothing leaves the process.
      # Raises the same errors as {Lineside} for what cannot be sent. In system tests, in which publications are sent,
      # it also sends, and subscribes at the sidecar.
      class Recording < Test
        # The adapter at the sidecar.
        class Sending < Lineside; end

        def initialize(server)
          super
          @sending = Sending.new(server)
        end

        def broadcast(name, payload)
          ::Lineside::CableStream.channel(name)
          ::Lineside::CableStream.check_payload(name, payload, ::Lineside.config)
          super
          @sending.broadcast(name, payload) unless ::Lineside.config.record?
        end

        def subscribe(name, callback, success_callback = nil)
          return super if ::Lineside.config.record?

          @sending.subscribe(name, callback, success_callback)
        end

        # From both, because it may have subscribed in another test.
        def unsubscribe(name, callback)
          super
          @sending.unsubscribe(name, callback)
        end

        def shutdown
          super
          @sending.shutdown
        end
      end
    end
  end
end
