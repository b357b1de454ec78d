# frozen_string_literal: true

require_relative "browser"

# WebSocket client that speaks Action Cable's protocol, in place of @rails/actioncable.
class CableBrowser < Browser
  def initialize(port, path: "/cable") # rubocop:disable Lint/MissingSuper -- that sends a connect of lineside-v1
    @socket = TCPSocket.new("127.0.0.1", port)
    @socket.write(request(port, path, { "Sec-WebSocket-Protocol" => "actioncable-v1-json" }))
    shake_hands
    @welcome = receive("welcome")
  end

  # Subscribes to a channel and waits for the confirmation.
  # @return [String] the identifier
  def subscribe(channel, **params)
    identifier = JSON.generate(channel:, **params)
    send_json(command: "subscribe", identifier:)
    receive("confirm_subscription")
    identifier
  end

  def unsubscribe(identifier) = send_json(command: "unsubscribe", identifier:)

  # Returns the next message of a channel.
  def next_message
    message = read_message until message&.key?("message") && !message.key?("type")
    message["message"]
  end
end
