# frozen_string_literal: true

# Action Cable of Rails with Redis, in Puma: one channel class that streams the channel of the page's token.
require "rails"
require "action_controller/railtie"
require "action_cable/engine"
require "openssl"
require "redis"

class BenchApp < Rails::Application
  config.load_defaults 6.1
  config.eager_load = true
  config.consider_all_requests_local = false
  config.secret_key_base = ENV.fetch("BENCH_SECRET")
  config.hosts.clear
  config.logger = Logger.new($stderr, level: Logger::WARN)
  config.action_cable.disable_request_forgery_protection = true
  config.action_cable.mount_path = "/cable"
end

module ApplicationCable
  class Connection < ActionCable::Connection::Base
    identified_by :claims

    def connect
      self.claims = verify(request.params["token"].to_s) || reject_unauthorized_connection
    end

    private

    # Claims of a token signed with HS256.
    def verify(token)
      head, claims, signature = token.split(".")
      expected = OpenSSL::HMAC.digest("SHA256", ENV.fetch("BENCH_SECRET"), "#{head}.#{claims}")
      return unless signature && OpenSSL.secure_compare(expected, Base64.urlsafe_decode64(signature))

      JSON.parse(Base64.urlsafe_decode64(claims)).then { |parsed| parsed if parsed["exp"] > Time.now.to_i }
    end
  end
end

class BenchChannel < ActionCable::Channel::Base
  def subscribed
    connection.claims["channels"].each { |name| stream_from(name) }
  end
end

ActionCable.server.config.cable = { "adapter" => "redis", "url" => ENV.fetch("BENCH_REDIS") }
ActionCable.server.config.connection_class = -> { ApplicationCable::Connection }
BenchApp.initialize!
run BenchApp
