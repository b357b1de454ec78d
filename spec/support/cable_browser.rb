# frozen_string_literal: true

require "openssl"
require_relative "browser"

# WebSocket client that speaks actioncable-v1-json, in place of Action Cable's JavaScript.
class CableBrowser < Browser
  PROTOCOLS = "actioncable-v1-json, actioncable-unsupported"

  # @return [String] head of the answer
  attr_reader :head

  # @param tls [Boolean] whether the server terminates TLS. The browser trusts any certificate
  def initialize(port, path: "/cable", headers: {}, tls: false) # rubocop:disable Lint/MissingSuper -- that connects with lineside-v1
    @socket = TCPSocket.new("127.0.0.1", port)
    @socket = OpenSSL::SSL::SSLSocket.new(@socket).tap(&:connect) if tls
    own = { "Origin" => "http#{'s' if tls}://127.0.0.1:#{port}", "Sec-WebSocket-Protocol" => PROTOCOLS }
    @socket.write(request(port, path, own.merge(headers)))
    @head = shake_hands
  end

  # @return [String] identifier of a subscription
  def self.identifier(channel, **params) = JSON.generate(channel:, **params)

  # Sends a command, and returns the answer.
  def subscribe(identifier)
    send_json(command: "subscribe", identifier:)
    receive
  end

  # Subscribes to a channel, and waits for the confirmation.
  # @return [String] identifier of the subscription
  def confirm(channel, **params)
    identifier = self.class.identifier(channel, **params)
    answer = subscribe(identifier)
    answer = receive until answer["type"]
    raise "not confirmed: #{answer}" unless answer == { "identifier" => identifier, "type" => "confirm_subscription" }

    identifier
  end

  def unsubscribe(identifier) = send_json(command: "unsubscribe", identifier:)

  # @return [Object] data of the next message of a channel
  def next_message
    message = receive
    message.key?("type") ? next_message : message["message"]
  end

  # Maximum number of pings before a message. One comes every 3 s.
  PINGS_MAX = 20

  # @return [Hash] the next message that is no ping
  def receive
    (PINGS_MAX + 1).times do
      message = read_message
      return message unless message["type"] == "ping"
    end
    raise "received only pings"
  end

  # Waits for the close frame.
  # @return [Integer] its code
  def receive_close
    opcode, payload = read_frame
    return payload.unpack1("n") if opcode == CLOSE

    receive_close
  end

  private

  def shake_hands
    head = +""
    head << read(1) until head.end_with?("\r\n\r\n")
    raise "no WebSocket: #{head}" unless head.start_with?("HTTP/1.1 101")

    head
  end
end
