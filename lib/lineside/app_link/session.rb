# frozen_string_literal: true

require "json"

module Lineside
  class AppLink
    # Protocol of one connection: asks for the streams of the {Subscriptions}, and calls their callbacks.
    class Session
      # Version of the protocol.
      VERSION = 1

      # Kinds of frames.
      HELLO = 48
      FOLLOW = 49
      UNFOLLOW = 50
      FAULT = 134
      WELCOME = 176
      FOLLOWED = 177
      PUBLISHED = 178
      REACHED = 179
      COMMAND = 180

      # Code of the fault of a planned stop.
      DRAIN = 105

      # Time-out of the sidecar's welcome, in seconds.
      WELCOME_SECONDS_MAX = 5

      # Size of the JSON from which a request is split into several, in bytes: half of the largest frame.
      REQUEST_BYTES = 512 * 1024

      # Maximum number of wake-ups that one read takes.
      WAKES_MAX = 1024

      # @return [Cable::Runner, nil]
      attr_reader :runner

      # @return [Hash, nil] decision that the hello has sent
      attr_reader :decision

      # @param runner [Cable::Runner, nil] takes the commands for connections of Action Cable; nil if this process runs
      #   no channels
      # @param decision [Hash, nil] {TurboKeys.decision}; nil if this process has none
      def initialize(connection, subscriptions, report, runner = nil, decision = nil)
        @connection = connection
        @subscriptions = subscriptions
        @report = report
        @runner = runner
        @decision = decision
      end

      # Opens the link. Nothing is followed on it yet.
      # @raise [Connection::Ended]
      def greet
        @connection.write(HELLO, { version: VERSION, process: AppLink.process, runner: !@runner.nil?,
                                   by_route: @decision }.compact)
        (kind, body), *others = first_frames(now + WELCOME_SECONDS_MAX)
        end_with(body) if kind == FAULT
        raise Connection::Ended, "the sidecar sent a frame of the unknown kind #{kind}" unless kind == WELCOME

        others.each { |frame| handle(*frame) }
      end

      # Sends what changed, waits for frames or for a wake-up, and handles them.
      # @param wakes [IO] readable when the subscriptions have changed
      # @raise [Connection::Ended]
      def turn(wakes)
        request_changes
        readable = @connection.wait(wakes)
        wakes.read_nonblock(WAKES_MAX, exception: false) if readable.include?(wakes)
        @connection.take_frames.each { |kind, body| handle(kind, body) }
      rescue Connection::Ended
        # The reason can have arrived before a write failed.
        @connection.take_frames.each { |kind, body| end_with(body) if kind == FAULT }
        raise
      end

      private

      def first_frames(deadline)
        until now > deadline
          @connection.wait(nil, [deadline - now, 0].max)
          frames = @connection.take_frames
          return frames if frames.any?
        end
        raise Connection::Ended, "the sidecar did not answer within #{WELCOME_SECONDS_MAX} s"
      end

      def request_changes
        unfollowed, followed = @subscriptions.changes
        { UNFOLLOW => unfollowed, FOLLOW => followed }.each do |kind, streams|
          parts(streams).each { |part| @connection.write(kind, { streams: part }) }
        end
      end

      # Lists of streams that each fit into one frame.
      def parts(streams)
        bytes = 0
        streams.slice_before do |stream|
          bytes += JSON.generate(stream).bytesize
          bytes = 0 if bytes > REQUEST_BYTES
          bytes.zero?
        end
      end

      def handle(kind, body)
        case kind
        when PUBLISHED then publish(body)
        when FOLLOWED then confirm(JSON.parse(body)["streams"])
        when COMMAND then @runner&.command(JSON.parse(body), @connection)
        when REACHED then call_all(@subscriptions.reached(JSON.parse(body)["cursor"]))
        when FAULT then end_with(body)
        end
      end

      def publish(body)
        stream_bytes, cursor_bytes = body.unpack("nC")
        name = text(body.byteslice(3, stream_bytes))
        cursor = body.byteslice(3 + stream_bytes, cursor_bytes)
        payload = text(body.byteslice((3 + stream_bytes + cursor_bytes)..))
        @subscriptions.published(name, cursor).each do |callback|
          call(name, callback, payload) if @subscriptions.active?(name, callback)
        end
      end

      def confirm(streams)
        call_all(@subscriptions.followed(streams))
        lost = streams.filter_map { |stream| stream["name"] if stream["lost"] }
        @report.lost(lost) if lost.any?
      end

      def call_all(confirmations) = confirmations.each { |name, callback| call(name, callback) }

      # An error of one subscriber concerns no other one.
      def call(name, callback, *arguments)
        callback.call(*arguments)
      rescue StandardError, ScriptError => e
        @report.failed(name, e)
      end

      # @raise [Connection::Ended]
      def end_with(fault)
        code = fault.unpack1("n")
        message = text(fault.byteslice(2..)).scrub
        raise Connection::Ended, message if code == DRAIN

        @report.fault(message)
        raise Connection::Refused, message
      end

      def text(bytes) = bytes.force_encoding(Encoding::UTF_8)

      def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
