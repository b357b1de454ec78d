# frozen_string_literal: true

module Lineside
  class AppLink
    # Streams that this process subscribes to, with their callbacks and cursors. Threads may call it at the same time.
    # Does no IO: {AppLink} sends what {#changes} returns, and passes on what the sidecar answers.
    class Subscriptions
      # Maximum number of streams, which is that of the sidecar.
      STREAMS_MAX = Native::FOLLOWED_STREAMS_MAX

      # One stream.
      # @!attribute subscribers
      #   @return [Hash{#call => Object}] callbacks that receive its publications, with their owners
      # @!attribute waiting
      #   @return [Hash{#call => Array}] callbacks that wait for the sidecar: owner, and callback of the confirmation
      # @!attribute cursor
      #   @return [String, nil] everything up to it was received; nil before the first answer
      # @!attribute requested
      #   @return [Boolean] whether the sidecar was asked on this link
      # @!attribute live
      #   @return [Boolean] whether the sidecar has answered, and everything missed was received
      Stream = Struct.new(:subscribers, :waiting, :cursor, :requested, :live) do
        def self.empty = new({}.compare_by_identity, {}.compare_by_identity, nil, false, false)

        def unused? = subscribers.empty? && waiting.empty?

        # Makes the waiting callbacks receive publications.
        # @return [Array<#call>] callbacks of their confirmations
        def activate
          self.live = true
          waiting.each { |callback, (owner, _)| subscribers[callback] = owner }
          waiting.values.filter_map(&:last).tap { waiting.clear }
        end
      end

      def initialize
        @mutex = Mutex.new
        @streams = {}
        # Names of streams to follow or unfollow.
        @changed = {}
        # Numbers of requests to follow a stream without an answer yet.
        @unanswered = Hash.new(0)
      end

      # @param confirmed [#call, nil] called by the link once the sidecar has confirmed
      # @return [Boolean] whether the stream is live already: then the caller calls it
      # @raise [Error] if there are too many streams
      def add(name, owner, callback, confirmed)
        @mutex.synchronize do
          stream = @streams[name] || create(name)
          if stream.live
            stream.subscribers[callback] = owner
          else
            stream.waiting[callback] = [owner, confirmed]
            @changed[name] = true
          end
          stream.live
        end
      end

      # No callback begins after this. Unknown ones are ignored.
      def remove(name, callback)
        @mutex.synchronize { remove_from(name) { |stream| delete(stream, callback) } }
      end

      # Removes all callbacks of an owner.
      def remove_all(owner)
        @mutex.synchronize do
          @streams.each_key do |name|
            remove_from(name) do |stream|
              stream.subscribers.delete_if { |_, it| it.equal?(owner) }
              stream.waiting.delete_if { |_, (it, _)| it.equal?(owner) }
            end
          end
        end
      end

      # Notes that the link has ended. Nothing is followed on the next one until it is requested.
      def reset
        @mutex.synchronize do
          @unanswered.clear
          @streams.delete_if { |_, stream| stream.unused? }
          @streams.each_value { |stream| stream.requested = stream.live = false }
          @changed = @streams.transform_values { true }
        end
      end

      # Returns what changed since the last call, as requests to the sidecar.
      # @return [Array(Array<String>, Array<Hash>)] names to unfollow, and streams to follow with their cursors
      def changes
        @mutex.synchronize do
          names = @changed.keys
          @changed.clear
          [names.select { |name| end_unused(name) }, names.filter_map { |name| request(name) }]
        end
      end

      # Notes the sidecar's answer to a request to follow streams.
      # @param answers [Array<Hash>] `name`, `cursor` and `lost` of each
      # @return [Array<Array(String, #call)>] names, and callbacks of confirmations to call
      def followed(answers)
        @mutex.synchronize { answers.flat_map { |answer| note(*answer.values_at("name", "cursor")) } }
      end

      # Notes a publication.
      # @return [Array<#call>] callbacks to call
      def published(name, cursor)
        @mutex.synchronize do
          stream = @streams[name]
          # Otherwise it belongs to a subscription that has ended.
          next [] unless stream&.cursor && !@unanswered.key?(name)

          stream.cursor = cursor
          stream.subscribers.keys
        end
      end

      # Notes that all publications up to the cursor were received.
      # @return [Array<Array(String, #call)>] as {#followed}
      def reached(cursor)
        @mutex.synchronize do
          @streams.flat_map do |name, stream|
            next [] if !stream.requested || @unanswered.key?(name)

            stream.cursor = cursor
            stream.live ? [] : activate(name, stream)
          end
        end
      end

      # @return [Boolean] whether the callback still receives publications
      def active?(name, callback) = @mutex.synchronize { @streams[name]&.subscribers&.key?(callback) || false }

      private

      def create(name)
        if @streams.size >= STREAMS_MAX
          raise Error, "this process subscribes to #{STREAMS_MAX} Action Cable streams already, the maximum: run " \
                       "more processes, or let channels stream from fewer names"
        end
        @streams[name] = Stream.empty
      end

      def delete(stream, callback) = stream.subscribers.delete(callback) || stream.waiting.delete(callback)

      # A stream that the sidecar sends is kept until it is told, so that subscribing again at once misses nothing.
      def remove_from(name)
        stream = @streams[name] or return
        yield stream
        return unless stream.unused?

        stream.requested ? @changed[name] = true : @streams.delete(name)
      end

      # @return [Boolean] whether the sidecar must be told
      def end_unused(name) = @streams[name]&.unused? && @streams.delete(name).requested

      def request(name)
        stream = @streams[name]
        return if stream.nil? || stream.requested

        stream.requested = true
        @unanswered[name] += 1
        { name:, after: stream.cursor }.compact
      end

      # Answers come in the order of the requests. One before the last belongs to a subscription that has ended.
      def note(name, cursor)
        @unanswered.delete(name) if (@unanswered[name] -= 1) <= 0
        stream = @streams[name]
        return [] if stream.nil? || !stream.requested || @unanswered.key?(name)

        is_resumed = !stream.cursor.nil?
        stream.cursor = cursor
        # New subscribers of a resumed stream receive nothing that was published before. {#reached} activates them.
        is_resumed ? [] : activate(name, stream)
      end

      def activate(name, stream) = stream.activate.map { |confirmed| [name, confirmed] }
    end
  end
end
