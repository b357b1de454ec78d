# frozen_string_literal: true

require "etc"
require "io/wait"
require "socket"

module Lineside
  class HandOff
    # Hands one socket to the sidecar, over a connection of its own (docs/protocol.md). Takes {SECONDS_MAX} at most.
    class Client
      # The hand-off failed: there is no sidecar, it did not answer in time, or it refused. The app keeps the socket.
      class Unavailable < Error
        # @return [String, nil] remedy that is not for the browser
        attr_accessor :remedy
      end

      # Time-out of a hand-off, in seconds. A running sidecar answers within a millisecond.
      SECONDS_MAX = 1

      # Frame kinds.
      HAND_OFF = 16
      TAKEN = 144
      FAULT = 134

      # Size of a frame's head, in bytes: length, kind, flags, length of the options.
      HEAD_BYTES = 8

      # Maximum size of the value of an option, in bytes. The frame's head has the length of all options in 16 bits.
      OPTION_BYTES_MAX = 65_535 - 4

      # Connects, yields the client and closes the connection.
      # @param path [String] path of the link's socket
      # @raise [Unavailable]
      def self.open(path)
        client = new(path)
        client.connect
        yield client
      ensure
        client&.close
      end

      def initialize(path)
        @path = path
        @deadline = now + SECONDS_MAX
        @socket = Socket.new(:UNIX, :STREAM)
      end

      # Connects without waiting: a full backlog means that the sidecar accepts no connections.
      # @raise [Unavailable]
      def connect
        @socket.connect_nonblock(Socket.pack_sockaddr_un(@path))
        owner, = @socket.getpeereid
        return if owner == Process.euid

        raise unavailable("it runs as another user", "run the app as #{user(owner)} too, or the sidecar as #{user}")
      rescue Errno::EACCES
        raise unavailable("the app may not open the link", "run the app, now #{user}, as the sidecar's user")
      rescue SystemCallError => e
        raise unavailable("#{plain(e)}; wait some seconds if Puma's plugin or a Procfile starts it, otherwise start " \
                          "it with `bundle exec lineside`")
      end

      # Hands a browser's socket to the sidecar, which then answers the browser.
      # @param socket [BasicSocket]
      # @param fields [Array<String>] the browser's address, the app's origin, and the bytes of the request
      # @param option [Array(Integer, String), nil] tag and value of an option, of up to {OPTION_BYTES_MAX}
      # @return [void]
      # @raise [Unavailable] the sidecar did not accept the socket and will not use it
      def hand_over(socket, fields, option = nil)
        send_frame(socket, pack(fields.map(&:b), option ? pack_option(*option) : ""))
        answer = read_frame or raise unavailable("it did not answer in time")
        kind = answer.getbyte(4)
        raise unavailable(reason(kind, answer)) unless kind == TAKEN
      end

      def close = @socket.close

      private

      # Sends the frame, and the descriptor with its first bytes.
      def send_frame(socket, frame)
        sent = @socket.sendmsg_nonblock(frame, 0, nil, Socket::AncillaryData.unix_rights(socket))
        sent += write(frame.byteslice(sent..)) while sent < frame.bytesize
      rescue Errno::EPIPE, Errno::ECONNRESET
        # The sidecar refused before it read everything. {#read_frame} reads the reason.
      rescue SystemCallError => e
        raise unavailable(plain(e))
      end

      def pack((peer, origin, request), options)
        body = [peer.bytesize, origin.bytesize].pack("n2") + peer + origin + request
        bytes = HEAD_BYTES - 4 + options.bytesize + body.bytesize
        [bytes, HAND_OFF, 0, options.bytesize].pack("N C C n") + options + body
      end

      def pack_option(tag, value)
        value.bytesize <= OPTION_BYTES_MAX or
          raise ArgumentError, "an option of #{value.bytesize} bytes; up to #{OPTION_BYTES_MAX} are possible"
        [tag, value.bytesize].pack("n2") + value.b
      end

      def write(bytes)
        written = @socket.write_nonblock(bytes, exception: false)
        return written unless written == :wait_writable

        @socket.wait_writable(left) or raise unavailable("it does not read")
        0
      end

      # @return [String, nil] nil if no frame arrived in time, or the connection closed
      def read_frame
        bytes = +"".b
        until bytes.bytesize >= HEAD_BYTES && bytes.bytesize >= 4 + bytes.unpack1("N")
          # After the shutdown, an answer that arrived before it is still read, and a later one fails.
          @socket.wait_readable(left) or @socket.shutdown(:RD)
          bytes << @socket.readpartial(4096)
        end
        bytes
      rescue EOFError, SystemCallError
        nil
      end

      # Message of a fault frame, which follows its code.
      def reason(kind, answer)
        return "it answered with an unknown frame of kind #{kind}" unless kind == FAULT

        message = String.new(answer.byteslice((HEAD_BYTES + 2)..).to_s, encoding: Encoding::UTF_8)
        "it answered #{message.scrub.inspect}"
      end

      # @param remedy [String, nil] remedy with names of users, for the log alone
      def unavailable(reason, remedy = nil)
        Unavailable.new("sidecar unavailable: #{reason}").tap { |error| error.remedy = remedy }
      end

      # Name of a user, or the id if the system has no name for it.
      def user(id = Process.euid)
        "user #{Etc.getpwuid(id).name}"
      rescue ArgumentError
        "user id #{id}"
      end

      # Message of the error alone, without system call and path, because the browser receives it too.
      def plain(error) = error.class.new.message

      def left = [@deadline - now, 0].max

      def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
    end
  end
end
