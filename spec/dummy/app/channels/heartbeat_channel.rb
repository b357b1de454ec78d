# frozen_string_literal: true

class HeartbeatChannel < ApplicationCable::Channel
end
