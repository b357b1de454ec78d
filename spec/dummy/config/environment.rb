# frozen_string_literal: true

require "rails"
require "action_controller/railtie"
require "lineside"

# The smallest Rails app that publishes.
class Dummy < Rails::Application
  config.root = File.expand_path("..", __dir__)
  config.load_defaults 6.1
  config.eager_load = true
  config.secret_key_base = "the key of the smallest app there is, long enough to derive a secret from"
  config.logger = Logger.new($stdout)
  config.hosts.clear

  routes.append do
    get "/publish/:number", to: (lambda do |env|
      number = env["action_dispatch.request.path_parameters"][:number]
      accepted = Lineside.publish("orders", number)
      [200, { "content-type" => "text/plain" }, ["#{Process.pid} #{accepted} #{Lineside.cursor.inspect}"]]
    end)
  end
end

Dummy.initialize!
