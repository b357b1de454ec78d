# frozen_string_literal: true

require_relative "../app_link"
require_relative "../rails_app"

module Lineside
  module SystemTest
    # Channels of Action Cable that run in this process, such as those with `stream_from(name) { … }`: what they
    # transmit follows the broadcast. A marker, which is published behind all broadcasts, shows that all have arrived
    # here. Then Action Cable's worker pool must be idle.
    class Channels
      # Channel of the markers.
      CHANNEL = "#{CableStream::PREFIX}lineside/settle".freeze

      # Interval of looks, in seconds.
      PAUSE_SECONDS = 0.002

      def initialize
        @sending = Mutex.new
        @sent = @received = 0
      end

      # Waits until the channels have handled all broadcasts before this call.
      # @param deadline [Float]
      # @raise [NotSettled]
      def finish(deadline)
        return unless RailsApp.cable?

        subscribe(deadline)
        marker = publish
        wait(deadline, "the app link has not received all broadcasts") { @received >= marker }
        wait(deadline, "channels in the app still run commands or blocks") { idle? }
        AppLink.current.flush(deadline)
      end

      private

      # Markers of several threads are published in their order.
      def publish
        @sending.synchronize do
          (@sent += 1).tap { |marker| Lineside.publisher.publish([[CHANNEL, marker]], now: true) }
        end
      end

      def subscribe(deadline)
        @sending.synchronize do
          next if @callback

          @callback = ->(marker) { @received = Integer(marker) }
          AppLink.current.subscribe(CHANNEL, self, @callback, -> { @confirmed = true })
        end
        wait(deadline, "the app link is not open") { @confirmed }
      end

      # @return [Boolean] whether no job waits or runs. One that follows another is added before that one has ended
      def idle?
        executor = ::ActionCable.server.worker_pool.executor
        executor.completed_task_count == executor.scheduled_task_count
      end

      def wait(deadline, reason)
        until yield
          raise NotSettled, reason if SystemTest.now >= deadline

          sleep PAUSE_SECONDS
        end
      end
    end
  end
end
