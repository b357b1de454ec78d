# frozen_string_literal: true

require "active_support/fork_tracker"
require_relative "hand_off"
require_relative "helper"
require_relative "identity"
require_relative "log_subscriber"
require_relative "request_cursor"

module Lineside
  # Lineside in a Rails application: `config.lineside.*`, the app's own key and folder, and in web processes a link that
  # is open before the first request. Loads nothing else, and prints nothing.
  class Engine < ::Rails::Engine
    # Any setting of {Configuration}. The environment wins; a name that is no setting ends the boot.
    config.lineside = ActiveSupport::OrderedOptions.new

    # An app without Action Controller has nothing that the endpoint could inherit from.
    initializer "lineside.controllers", before: :set_load_path do
      [paths["app"], paths["app/controllers"]].each(&:skip_eager_load!) unless defined?(::ActionController::Railtie)
    end

    # After the app's own initializers, so that these may set something too.
    initializer "lineside.configure", after: :load_config_initializers do |app|
      found = { root: app.root.to_s, app_key: Engine.app_key(app) }
      Lineside.configure { |config| config.assign(found.merge(app.config.lineside)) }
      LogSubscriber.attach_to(:lineside) if Lineside.config.logger.debug?
    end

    # First of all in a request, and over at its end. Where one execution is within another, the outer one's holds.
    initializer "lineside.request_cursor" do |app|
      app.executor.to_run { Lineside.sample_request_cursor }
      app.executor.to_complete { Lineside.forget_request_cursor }
    end

    initializer "lineside.hand_off" do |app|
      app.middleware.insert_before ActionDispatch::Executor, HandOff
    end

    # Sprockets compiles for production what is named to it; Propshaft takes the whole folder.
    initializer "lineside.assets" do |app|
      app.config.assets.precompile << "lineside.js" if app.config.respond_to?(:assets)
    end

    initializer "lineside.helper" do
      ActiveSupport.on_load(:action_view) { include Helper }
    end

    # In all controllers, and at work in the app's own: these are not loaded yet.
    initializer "lineside.identity", after: "lineside.configure" do
      ActiveSupport.on_load(:action_controller_base) do
        after_action { |controller| Identity.keep(controller) } if Lineside.config.identity_cookie
      end
    end

    # Beside the WebSocket's path. Before the app's own routes, so that none that catches all takes it.
    initializer "lineside.routes", after: "lineside.configure" do |app|
      app.routes.prepend do
        post "#{Lineside.config.path}/token", to: "lineside/tokens#create", as: :lineside_token,
                                              defaults: { format: :json }
      end
    end

    # Called by `Rails.application.load_server` in config.ru, so neither by a console nor by rake: these open the link
    # with their first publication. A preloading server forks workers later, and each needs a link of its own.
    server do
      open_link = -> { Lineside.publisher.connect }
      ActiveSupport::ForkTracker.after_fork(&open_link)
      open_link.call
    end

    # @return [String, nil] nil where the app has no key, as when assets are built: who needs one will say so
    def self.app_key(app)
      app.secret_key_base
    rescue ArgumentError
      nil
    end
  end
end
