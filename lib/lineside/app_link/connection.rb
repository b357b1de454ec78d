# frozen_string_literal: true

require "json"
require "socket"

module Lineside
  class AppLink
    # One connection to the sidecar: frames of the app link (docs/protocol.md) over its socket. For one thread.
    class Connection
      # The connection has ended, or could not be opened.
      class Ended < Error; end

      # Size of a frame's head, in bytes: length, kind, flags, length of the options.
      HEAD_BYTES = 8

      # Maximum size of one read, in bytes.
      READ_BYTES = 256 * 1024

      # Connects without waiting: a full backlog means that the sidecar accepts no connections.
      # @param path [String] path of the link's socket
      # @raise [Ended]
      def initialize(path)
        @socket = Socket.new(:UNIX, :STREAM)
        @unsent = "".b
        @received = "".b
        connect(path)
      rescue SystemCallError => e
        close
        raise Ended, e.message
      rescue Ended
        close
        raise
      end

      # Appends a frame, which {#wait} sends.
      # @param body [Hash]
      def write(kind, body)
        json = JSON.generate(body)
        @unsent << [HEAD_BYTES - 4 + json.bytesize, kind, 0, 0].pack("N C C n") << json.b
      end

      # Sends, and waits until frames may have arrived, another IO is readable, or the time is over.
      # @param other [IO, nil]
      # @param seconds [Numeric, nil]
      # @return [Array<IO>, nil] the readable ones; nil if the time is over
      # @raise [Ended]
      def wait(other = nil, seconds = nil)
        flush
        readable, = IO.select([@socket, other].compact, @unsent.empty? ? nil : [@socket], nil, seconds)
        receive if readable&.include?(@socket)
        readable
      rescue SystemCallError, IOError => e
        raise Ended, e.message
      end

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

      def close = @socket&.close

      private

      def connect(path)
        @socket.connect_nonblock(Socket.pack_sockaddr_un(path))
        owner, = @socket.getpeereid
        return if owner == Process.euid

        raise Ended, "the sidecar runs as another user (id #{owner}): run app and sidecar as one user"
      end

      def flush
        return if @unsent.empty?

        written = @socket.write_nonblock(@unsent, exception: false)
        @unsent = @unsent.byteslice(written..) unless written == :wait_writable
      end

      def receive
        bytes = @socket.read_nonblock(READ_BYTES, exception: false)
        raise Ended, "the sidecar has ended" if bytes.nil?

        @received << bytes unless bytes == :wait_readable
      end

      # Size of the frame at this offset; nil if it is incomplete.
      def frame_bytes(start)
        left = @received.bytesize - start
        return if left < HEAD_BYTES

        size = 4 + @received.unpack1("N", offset: start)
        size if size <= left
      end
    end
  end
end
