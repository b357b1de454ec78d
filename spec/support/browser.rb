# frozen_string_literal: true

require "base64"
require "json"
require "securerandom"
require "socket"
require_relative "eventually"

# WebSocket client (RFC 6455) that speaks lineside-v1, in place of a browser.
class Browser
  include Eventually

  TEXT = 1
  CLOSE = 8
  PING = 9

  # @return [Hash] the welcome message
  attr_reader :welcome

  # @param path [String] path of the WebSocket
  # @param headers [Hash] additional header fields of the request
  # @param at_once [Boolean] whether to send the connect message together with the request
  def initialize(port, path: "/lineside", headers: {}, at_once: false, **connect)
    @socket = TCPSocket.new("127.0.0.1", port)
    request = request(port, path, headers)
    connect = frame(TEXT, JSON.generate(type: "connect", **connect))
    @socket.write(at_once ? request + connect : request)
    shake_hands
    @socket.write(connect) unless at_once
    @welcome = receive("welcome")
  end

  def send_json(message) = write(TEXT, JSON.generate(message))

  # Returns the next message, which must be of the type, or of one of the types. Skips pings and `caught_up`.
  def receive(type)
    message = read_message
    return receive(type) if %w[ping caught_up].include?(message["type"])
    raise "waited for #{type}, got #{message}" unless [*type].include?(message["type"])

    message
  end

  # Reads the next message, which must be a ping.
  def receive_ping
    message = read_message
    raise "waited for a ping, got #{message}" unless message["type"] == "ping"
  end

  # Returns the messages up to and including the one whose data is `last`.
  def messages_until(last)
    received = []
    received << receive("message") until received.last&.fetch("data") == last
    received
  end

  def data_until(last) = messages_until(last).map { |message| message["data"] }

  def close = @socket.close

  private

  def request(port, path, headers)
    upgrade = { "Host" => "127.0.0.1:#{port}", "Upgrade" => "websocket", "Connection" => "Upgrade",
                "Sec-WebSocket-Version" => "13", "Sec-WebSocket-Key" => Base64.strict_encode64(SecureRandom.bytes(16)) }
    lines = upgrade.merge(headers).map { |name, value| "#{name}: #{value}\r\n" }
    "GET #{path} HTTP/1.1\r\n#{lines.join}\r\n"
  end

  def shake_hands
    head = +""
    head << read(1) until head.end_with?("\r\n\r\n")
    raise "no WebSocket: #{head}" unless head.start_with?("HTTP/1.1 101")
  end

  def read_message
    opcode, payload = read_frame
    case opcode
    when TEXT then JSON.parse(payload)
    when CLOSE then raise "closed with #{payload.unpack('n a*')}"
    else
      write(10, payload) if opcode == PING
      read_message
    end
  end

  def read_frame
    first, second = read(2).bytes
    length = second & 0x7F
    length = read(2).unpack1("n") if length == 126
    length = read(8).unpack1("Q>") if length == 127
    [first & 0xF, read(length)]
  end

  def write(opcode, payload) = @socket.write(frame(opcode, payload))

  # Masked, as required of clients (RFC 6455 §5.3).
  def frame(opcode, payload)
    mask = SecureRandom.bytes(4)
    masked = payload.bytes.each_with_index.map { |byte, index| byte ^ mask.getbyte(index % 4) }.pack("C*")
    size = payload.bytesize
    head = size < 126 ? [0x80 | opcode, 0x80 | size].pack("CC") : [0x80 | opcode, 0xFE, size].pack("CCn")
    head + mask + masked
  end

  def read(bytes)
    buffer = "".b
    buffer << eventually("a message") { read_available(bytes - buffer.bytesize) } while buffer.bytesize < bytes
    buffer
  end

  # Reads up to as many bytes. Returns nil if there are none for a while.
  def read_available(bytes)
    read = @socket.read_nonblock(bytes, exception: false)
    raise EOFError if read.nil?
    return read unless read.is_a?(Symbol)

    @socket.to_io.wait_readable(0.1)
    nil
  end
end
