# frozen_string_literal: true

require "io/wait"
require "socket"

module Lineside
  class HandOff
    # The link of one hand-off, and its two frames (docs/protocol.md). Never waits longer than {SECONDS_MAX} in all.
    class Link
      # The socket is still the app's: there is no sidecar, it does not answer, or it refuses.
      class Unavailable < Error; end

      # A sidecar answers within a millisecond; one that takes as long as this is stopped or hung.
      SECONDS_MAX = 1

      # Kinds of frames.
      HAND_OFF = 16
      TAKEN = 144
      FAULT = 134

      # The head of a frame: length, kind, flags, bytes of options.
      HEAD_BYTES = 8

      # Yields a link to the sidecar, and closes it.
      # @param path [String] of its socket
      # @raise [Unavailable]
      def self.open(path)
        link = new(path)
        link.connect
        yield link
      ensure
        link&.close
      end

      def initialize(path)
        @path = path
        @deadline = now + SECONDS_MAX
        @socket = Socket.new(:UNIX, :STREAM)
      end

      # Either there is room in the listener's backlog at once, or somebody has stopped accepting.
      # @raise [Unavailable]
      def connect
        @socket.connect_nonblock(Socket.pack_sockaddr_un(@path))
        owner, = @socket.getpeereid
        return if owner == Process.euid

        raise unavailable("it runs as the user id #{owner}, this process as #{Process.euid}")
      rescue Errno::EACCES
        raise unavailable("the user id #{Process.euid} may not open the link; run this process as the same user as it")
      rescue SystemCallError => e
        raise unavailable("#{plain(e)}; start it with `bundle exec lineside`")
      end

      # Gives a browser's socket away.
      # @param socket [BasicSocket]
      # @param fields [Array<String>] the browser's address, the app's origin, and the bytes of the request
      # @return [void] the sidecar has it, and answers the browser
      # @raise [Unavailable] the sidecar does not have it, and never will
      def give(socket, fields)
        send_frame(socket, fields)
        answer = read_frame or raise unavailable("it did not answer in time")
        kind = answer.getbyte(4)
        raise unavailable(reason(kind, answer)) unless kind == TAKEN
      end

      def close = @socket.close

      private

      # The descriptor travels with the first bytes.
      def send_frame(socket, fields)
        frame = pack(*fields.map(&:b))
        sent = @socket.sendmsg_nonblock(frame, 0, nil, Socket::AncillaryData.unix_rights(socket))
        sent += write(frame.byteslice(sent..)) while sent < frame.bytesize
      rescue Errno::EPIPE, Errno::ECONNRESET
        # It has refused without reading on; why, is to be read.
      rescue SystemCallError => e
        raise unavailable(plain(e))
      end

      def pack(peer, origin, request)
        body = [peer.bytesize, origin.bytesize].pack("n2") + peer + origin + request
        [HEAD_BYTES - 4 + body.bytesize, HAND_OFF, 0, 0].pack("N C C n") + body
      end

      def write(bytes)
        written = @socket.write_nonblock(bytes, exception: false)
        return written unless written == :wait_writable

        @socket.wait_writable(left) or raise unavailable("it does not read")
        0
      end

      # @return [String, nil] nil when none came in time, or ever will
      def read_frame
        bytes = +"".b
        until bytes.bytesize >= HEAD_BYTES && bytes.bytesize >= 4 + bytes.unpack1("N")
          @socket.wait_readable(left) or @socket.shutdown(:RD)
          # After the shutdown, what it has answered by then is still there, and it can answer no more.
          bytes << @socket.readpartial(4096)
        end
        bytes
      rescue EOFError, SystemCallError
        nil
      end

      # What a fault says behind its code.
      def reason(kind, answer)
        return "it answered with a frame of the kind #{kind}" unless kind == FAULT

        message = String.new(answer.byteslice((HEAD_BYTES + 2)..).to_s, encoding: Encoding::UTF_8)
        "it answered #{message.scrub.inspect}"
      end

      def unavailable(reason) = Unavailable.new("the sidecar is not to be had: #{reason}")

      # Without the call and the path: browsers read it too.
      def plain(error) = error.class.new.message

      def left = [@deadline - now, 0].max

      def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
