# frozen_string_literal: true

require "rails"
require "action_controller/railtie"
require "action_view/railtie"
require "lineside"

# Minimal Rails app that publishes and renders a page.
class Dummy < Rails::Application
  config.root = File.expand_path("..", __dir__)
  config.load_defaults 6.1
  config.eager_load = true
  config.secret_key_base = "the key of the smallest app there is, long enough to derive a secret from"
  config.logger = Logger.new($stdout)
  config.hosts.clear
  config.session_store :cookie_store, key: "dummy"
  # Grants and session of a user's pages, and of an anonymous page.
  config.lineside.token = -> { { allow: ["of-#{current_user || 'nobody'}:*"], session: session[:number] } }

  routes.append do
    get "/page", to: "pages#show"
    get "/sign_in/:user", to: "pages#sign_in"
    match "/sign_out", to: "pages#sign_out", via: %i[get post]
    get "/answers/:kind", to: "answers#show"
    get "/publish/:number", to: (lambda do |env|
      number = env["action_dispatch.request.path_parameters"][:number]
      accepted = Lineside.publish("orders", number)
      [200, { "content-type" => "text/plain" }, ["#{Process.pid} #{accepted} #{Lineside.cursor.inspect}"]]
    end)
  end
end

Dummy.initialize!
