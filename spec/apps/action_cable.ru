# frozen_string_literal: true

# App whose Action Cable stays in Puma, with the adapter of spec/apps/action_cable/config/cable.yml.
require "rails"
require "action_controller/railtie"
require "action_cable/engine"
require "lineside"

class Rooms < Rails::Application
  config.root = File.join(__dir__, "action_cable")
  config.load_defaults 6.1
  # The channels below are defined after the boot.
  config.eager_load = false
  config.secret_key_base = "the key of an app with Action Cable in Puma, long enough to derive a secret from"
  config.logger = Logger.new($stdout)
  config.hosts.clear
  config.action_cable.disable_request_forgery_protection = true

  routes.append do
    get "/broadcast/:room/:number", to: (lambda do |env|
      room, number = env["action_dispatch.request.path_parameters"].values_at(:room, :number)
      ChatChannel.broadcast_to(room, number)
      [200, { "content-type" => "text/plain" }, ["broadcast"]]
    end)
    get "/disconnect/:user", to: (lambda do |env|
      ActionCable.server.disconnect(user: env["action_dispatch.request.path_parameters"][:user])
      [200, { "content-type" => "text/plain" }, ["disconnected"]]
    end)
  end
end

Rooms.initialize!

module ApplicationCable
  class Connection < ActionCable::Connection::Base
    identified_by :user

    def connect = self.user = request.params[:user]
  end

  class Channel < ActionCable::Channel::Base; end
end

class ChatChannel < ApplicationCable::Channel
  def subscribed = stream_for(params[:room])
end

run Rails.application
Rails.application.load_server
