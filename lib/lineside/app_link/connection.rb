# frozen_string_literal: true

require "json"
require "socket"

module Lineside
  class AppLink
    # One connection to the sidecar: frames of the app link (docs/protocol.md) over its socket. All threads may call
    # {#write}. The rest is for the thread that has opened it.
    class Connection
      # The sidecar has ended the connection, or it could not be opened.
      class Ended < Error; end

      # The sidecar has ended this link with a fault, and keeps running.
      class Refused < Ended; end

      # The sidecar does not read.
      class Stalled < Error; end

      # Size of a frame's head, in bytes: length, kind, flags, length of the options.
      HEAD_BYTES = 8

      # Maximum size of one read, in bytes.
      READ_BYTES = 256 * 1024

      # Size of unsent frames from which other threads wait before they send more, in bytes.
      UNSENT_BYTES_MAX = 1024 * 1024

      # Time in which the sidecar must read something if there are unsent frames, in seconds.
      STALL_SECONDS_MAX = 10

      # Interval in which unsent frames are sent again, in seconds.
      RETRY_SECONDS = 0.5

      # Connects without waiting: a full backlog means that the sidecar accepts no connections.
      # @param path [String] path of the link's socket
      # @param wakes [IO, nil] written to if another thread has written a frame that this thread must send
      # @raise [Ended]
      def initialize(path, wakes = nil)
        @thread = Thread.current
        @wakes = wakes
        @socket = Socket.new(:UNIX, :STREAM)
        @unsent = "".b
        @received = "".b
        @mutex = Mutex.new
        @room = ConditionVariable.new
        @read_at = now
        connect(path)
      rescue SystemCallError => e
        close
        raise Ended, e.message
      rescue Ended
        close
        raise
      end

      # Sends a frame, now or in {#wait}. Another thread waits while too much is unsent.
      # @param body [Hash]
      # @return [Boolean] false if the connection has ended
      def write(kind, body)
        json = JSON.generate(body)
        frame = [HEAD_BYTES - 4 + json.bytesize, kind, 0, 0].pack("N C C n") << json.b
        # An exception of a time-out must not cut a frame in two.
        Thread.handle_interrupt(Object => :on_blocking) { @mutex.synchronize { append(frame) } }
      end

      # Sends, and waits until frames may have arrived, another IO is readable, or the time is over.
      # @param other [IO, nil]
      # @param seconds [Numeric, nil]
      # @return [Array<IO>] the readable ones
      # @raise [Ended]
      # @raise [Stalled]
      def wait(other = nil, seconds = nil)
        is_sent = @mutex.synchronize { send_unsent }
        raise Stalled, "the sidecar has not read for #{STALL_SECONDS_MAX} s" if stalled?

        readable = select(other, seconds, is_sent)
        receive if readable.include?(@socket)
        readable
      rescue SystemCallError, IOError => e
        receive_rest
        raise Ended, e.message
      end

      # @return [Boolean] whether all frames were sent, or the connection has ended
      def sent? = @mutex.synchronize { @unsent.empty? || @socket.closed? }

      # Takes the complete frames that have arrived.
      # @return [Array<Array(Integer, String)>] kind and body of each
      def take_frames
        frames = []
        start = 0
        while (size = frame_bytes(start))
          body = start + HEAD_BYTES + @received.unpack1("n", offset: start + 6)
          frames << [@received.getbyte(start + 4), @received.byteslice(body...(start + size))]
          start += size
        end
        @received = @received.byteslice(start..) if start.positive?
        frames
      end

      # Ends the connection. Threads that wait in {#write} go on.
      def close
        @mutex.synchronize do
          @socket.close
          @room.broadcast
        end
      end

      # Closes a forked child's copy of the file descriptor.
      def close_copy = @socket.close

      private

      def connect(path)
        @socket.connect_nonblock(Socket.pack_sockaddr_un(path))
        owner, = @socket.getpeereid
        return if owner == Process.euid

        raise Ended, "the sidecar runs as another user (id #{owner}): run app and sidecar as one user"
      end

      def select(other, seconds, is_sent)
        seconds = [seconds, RETRY_SECONDS].compact.min unless is_sent
        IO.select([@socket, other].compact, is_sent ? nil : [@socket], nil, seconds)&.first || []
      end

      def append(frame)
        send_unsent
        wait_for_room unless Thread.current == @thread
        return false if @socket.closed? || stalled?

        @read_at = now if @unsent.empty?
        @unsent << frame
        send_unsent or wake
        true
      rescue SystemCallError, IOError
        # The thread of {#wait} sees it too.
        false
      end

      def wait_for_room
        until @socket.closed? || stalled? || @unsent.bytesize < UNSENT_BYTES_MAX
          @room.wait(@mutex, RETRY_SECONDS)
          send_unsent unless @socket.closed?
        end
      end

      # @return [Boolean] whether everything is sent
      def send_unsent
        written = @unsent.empty? ? 0 : @socket.write_nonblock(@unsent, exception: false)
        unless written == :wait_writable
          @unsent = @unsent.byteslice(written..)
          @read_at = now
          @room.broadcast
        end
        @unsent.empty?
      end

      def stalled? = !@unsent.empty? && now - @read_at > STALL_SECONDS_MAX

      # Makes the thread of {#wait} wait until it can send.
      def wake = Thread.current == @thread || @wakes&.write_nonblock("\0", exception: false)

      def receive
        bytes = @socket.read_nonblock(READ_BYTES, exception: false)
        raise Ended, "the sidecar has ended" if bytes.nil?

        @received << bytes unless bytes == :wait_readable
      end

      # Receives what the sidecar has sent before the end, such as its reason.
      def receive_rest
        receive while @socket.wait_readable(0)
      rescue SystemCallError, IOError, Ended
        nil
      end

      # Size of the frame at this offset; nil if it is incomplete.
      def frame_bytes(start)
        left = @received.bytesize - start
        return if left < HEAD_BYTES

        size = 4 + @received.unpack1("N", offset: start)
        size if size <= left
      end

      def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
