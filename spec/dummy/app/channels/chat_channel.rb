# frozen_string_literal: true

# Runs in the app.
class ChatChannel < ApplicationCable::Channel
  def subscribed = stream_from("chat")
end
