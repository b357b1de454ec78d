# frozen_string_literal: true

require "rails"
require "action_controller/railtie"
require "action_view/railtie"
require "action_cable/engine"
require "lineside"

# Middleware that moves a tenant's number from the path to SCRIPT_NAME, as apps with several tenants do.
class TenantPrefix
  def initialize(app)
    @app = app
  end

  def call(env)
    prefix = env["PATH_INFO"][%r{\A/\d{7}(?=/)}] or return @app.call(env)

    @app.call(env.merge("SCRIPT_NAME" => env["SCRIPT_NAME"] + prefix,
                        "PATH_INFO" => env["PATH_INFO"].delete_prefix(prefix)))
  end
end

# Stand-in for turbo-rails.
require File.expand_path("../../apps/turbo/streams_helper", __dir__)

# Scripts of its page for a browser.
SCRIPTS = {
  "lineside.js" => File.expand_path("../../../app/assets/javascripts/lineside.js", __dir__),
  "stream_source.js" => File.expand_path("../../apps/turbo/stream_source.js", __dir__),
  "action_cable.js" => Dir[ActionCable::Engine.root.join("app/assets/javascripts/action{_,}cable.js")].first
}.freeze

# Minimal Rails app that publishes and renders a page.
class Dummy < Rails::Application
  config.root = File.expand_path("..", __dir__)
  config.load_defaults 6.1
  config.eager_load = true
  config.secret_key_base = "the key of the smallest app there is, long enough to derive a secret from"
  config.logger = Logger.new($stdout)
  config.hosts.clear
  config.middleware.use TenantPrefix
  config.session_store :cookie_store, key: "dummy"
  config.lineside.token_expires_in = Integer(ENV["TOKEN_SECONDS"]) if ENV["TOKEN_SECONDS"]
  # Grants and session of a user's pages, and of an anonymous page.
  config.lineside.token = -> { { allow: ["of-#{current_user || 'nobody'}:*"], session: session[:number] } }

  routes.append do
    get "/page", to: "pages#show"
    get "/board", to: "pages#board"
    get "/scripts/:name", format: false, constraints: { name: /[a-z_]+\.js/ }, to: (lambda do |env|
      name = env["action_dispatch.request.path_parameters"][:name]
      [200, { "content-type" => "text/javascript" }, [File.read(SCRIPTS.fetch(name))]]
    end)
    get "/sign_in/:user", to: "pages#sign_in"
    match "/sign_out", to: "pages#sign_out", via: %i[get post]
    %w[tagged dated].each { |kind| get "/answers/#{kind}", to: "answers##{kind}" }
    get "/answers/:kind", to: "answers#show"
    get "/rooms/:name", to: "rooms#show"
    # Publishes the text of a stream, and stores the post that it adds, if there is one.
    post "/broadcasts/:stream", to: (lambda do |env|
      request = ActionDispatch::Request.new(env)
      stream, post, html = request.params.values_at(:stream, :post, :html)
      File.write(ENV.fetch("ROOM_FILE"), "#{post}\n", mode: "a") if post
      ActionCable.server.broadcast(stream, html)
      [204, {}, []]
    end)
    post "/disconnections/:user", to: (lambda do |env|
      Lineside.disconnect!(env["action_dispatch.request.path_parameters"][:user])
      [204, {}, []]
    end)
    # Ends a user's connections in Rails' own way. Up to Rails 7.0, `disconnect` takes no `reconnect:`.
    post "/remote_disconnections/:user", to: (lambda do |env|
      user, tenant, reconnect = ActionDispatch::Request.new(env).params.values_at(:user, :tenant, :reconnect)
      identified = { current_user: user, tenant: }
      if reconnect
        channel = ActionCable.server.remote_connections.where(identified).send(:internal_channel)
        ActionCable.server.broadcast(channel, { type: "disconnect", reconnect: reconnect == "true" })
      else
        ActionCable.server.disconnect(identified)
      end
      [204, {}, []]
    end)
    get "/publish/:number", to: (lambda do |env|
      number = env["action_dispatch.request.path_parameters"][:number]
      accepted = Lineside.publish("orders", number)
      [200, { "content-type" => "text/plain" }, ["#{Process.pid} #{accepted} #{Lineside.cursor.inspect}"]]
    end)
  end
end

Dummy.initialize!
Turbo.signed_stream_verifier_key = "the key of Turbo"
