# frozen_string_literal: true

require "delegate"
require_relative "frames"

module Lineside
  module Cable
    class Runner
      # The pub/sub adapter, as a hosted connection sees it. The sidecar serves direct streams. All others are served by
      # the adapter in this process, and their callbacks run in Rails' worker pool.
      class Pubsub < SimpleDelegator
        # Stands for the callback of a direct stream.
        # @!attribute identifier
        #   @return [String] of its subscription
        Direct = Struct.new(:identifier)

        # @param adapter [ActionCable::SubscriptionAdapter::Base]
        # @param hosted [Hosted]
        def initialize(adapter, hosted)
          super(adapter)
          @hosted = hosted
          @mutex = Mutex.new
          @subscribed = {}.compare_by_identity
        end

        # Begins a direct stream.
        #
        # @param identifier [String] of the subscription
        # @param name [String] of the stream
        # @return [Direct]
        # @raise [ArgumentError] if the name is invalid
        def stream(identifier, name)
          CableStream.channel(name)
          @hosted.report(Frames::STREAM, identifier:, stream: name)
          Direct.new(identifier)
        end

        # @param block [#call] takes a message
        # @return [#call] callback for {#subscribe}. Calls the block in the worker pool with one message after another,
        #   until it is unsubscribed
        def handler(block)
          callback = lambda do |message|
            @hosted.deliver { block.call(message) if @mutex.synchronize { @subscribed[callback] } }
          end
        end

        # As the adapter does. Up to Rails 8.1, another thread calls this for a channel, perhaps after {#unsubscribe}.
        def subscribe(name, callback, success = nil)
          confirm = success && -> { @hosted.deliver(&success) }
          @mutex.synchronize do
            next if @subscribed.delete(callback) == false

            @subscribed[callback] = true
            __getobj__.subscribe(name, callback, confirm)
          end
        end

        # As the adapter does. Ends a direct stream too.
        def unsubscribe(name, callback)
          if callback.is_a?(Direct)
            return @hosted.report(Frames::STOP_STREAM, identifier: callback.identifier, stream: name)
          end

          @mutex.synchronize do
            # Noted for a subscription that has not begun.
            next @subscribed[callback] = false unless @subscribed.delete(callback)

            __getobj__.unsubscribe(name, callback)
          end
        end
      end
    end
  end
end
