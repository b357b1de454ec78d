# frozen_string_literal: true

require "active_support/fork_tracker"
require_relative "freshness"
require_relative "hand_off"
require_relative "helper"
require_relative "identity"
require_relative "log_subscriber"
require_relative "notice"
require_relative "rails_app"
require_relative "request_cursor"
require_relative "request_revocations"
require_relative "sandbox"

module Lineside
  # Rails engine: settings from `config.lineside.*`, a secret derived from the app's key, the middleware, the helper,
  # the token endpoint and the identity cookie. Web processes open the link at boot. Prints nothing.
  class Engine < ::Rails::Engine
    # Settings of {Configuration}. Environment variables override them. An unknown name aborts the boot.
    config.lineside = ActiveSupport::OrderedOptions.new

    # Without Action Controller, the token endpoint has no parent class, so it is not loaded.
    initializer "lineside.controllers", before: :set_load_path do
      [paths["app"], paths["app/controllers"]].each(&:skip_eager_load!) unless defined?(::ActionController::Railtie)
    end

    # Runs after the app's initializers, which can set config.lineside too.
    initializer "lineside.configure", after: :load_config_initializers do |app|
      found = { root: app.root.to_s, app_environment: Rails.env.to_s, app_key: RailsApp.key(app),
                hosts: RailsApp.hosts(app), cable_path: RailsApp.cable_path(app) }
      Lineside.configure { |config| config.assign(found.merge(app.config.lineside)) }
      LogSubscriber.attach_to(:lineside) if Lineside.config.logger.debug?
    end

    # A name without a class would fail the first request for a token.
    initializer "lineside.parent_controller" do |app|
      next unless defined?(::ActionController::Railtie)

      app.config.to_prepare { Page.parent_controller if Lineside.config.parent_controller }
    end

    # Samples the cursor at the beginning of each request or job and clears it at the end. In nested executions, the
    # sample of the outermost one counts.
    initializer "lineside.request_cursor" do |app|
      app.executor.to_run do
        Lineside.sample_request_cursor
        Lineside.begin_request
      end
      app.executor.to_complete do
        Lineside.forget_request_cursor
        Lineside.end_request
      end
    end

    # The permit of a page opens its channels, so it is not logged.
    initializer("lineside.parameters") { |app| app.config.filter_parameters << :lineside_permit }

    initializer "lineside.replicas" do
      ActiveSupport.on_load(:active_record) { singleton_class.prepend(RequestCursor::Roles) }
    end

    initializer "lineside.hand_off" do |app|
      app.middleware.insert_before ActionDispatch::Executor, HandOff
    end

    # Sprockets compiles only listed files for production. Propshaft compiles the whole folder.
    initializer "lineside.assets", after: :load_config_initializers do |app|
      next unless app.config.respond_to?(:assets) && RailsApp.compiles_module?(app)

      app.config.assets.precompile.push("lineside.js", "lineside/turbo.js")
    end

    initializer "lineside.helper" do
      ActiveSupport.on_load(:action_view) { include Helper }
    end

    initializer "lineside.freshness" do
      ActiveSupport.on_load(:action_controller_base) { include Freshness }
    end

    # Added to every controller, because the app's own are not loaded yet. {Identity} skips the others.
    initializer "lineside.identity", after: "lineside.configure" do
      ActiveSupport.on_load(:action_controller_base) do
        after_action { |controller| Identity.update(controller) } if Lineside.config.identity_cookie
      end
    end

    # Token endpoint below the WebSocket's path. Prepended, so that no catch-all route of the app matches first.
    # The other route takes WebSocket requests whose path begins with a prefix until a middleware of the app removes it.
    initializer "lineside.routes", after: "lineside.configure" do |app|
      hand_off = HandOff.new(nil)
      app.routes.prepend do
        get Lineside.config.path, to: ->(env) { hand_off.answer(env) }, as: nil, format: false,
                                  constraints: ->(request) { HandOff::Request.web_socket?(request.env) }
        post "#{Lineside.config.path}/token", to: "lineside/tokens#create", as: :lineside_token,
                                              defaults: { format: :json }
        # The path / is also that of the app's own page.
        get Lineside.config.path, to: Notice, as: nil, format: false unless Lineside.config.path == "/"
      end
    end

    # Loaded with Action Cable.
    initializer "lineside.cable" do |app|
      ActiveSupport.on_load(:action_cable) do
        require_relative "cable"
        Cable::Connection.install
        app.reloader.to_prepare { Cable.forget_channels }
      end
    end

    # The helpers of turbo-rails are loaded on first use, and not again by a reload of code.
    initializer "lineside.turbo" do |app|
      app.config.to_prepare do
        next unless defined?(::Turbo::Engine) && defined?(::ActionCable::Engine)

        require_relative "cable/stream_source"
        Cable::StreamSource.install
      end
    end

    # Opens the link at boot of a server (`Rails.application.load_server` in config.ru), and again in each forked
    # worker. A console or a rake task opens it with the first publication.
    server do
      open_link = -> { Lineside.publisher.connect }
      ActiveSupport::ForkTracker.after_fork(&open_link)
      open_link.call
    end

    # All initializers have run, so no code of theirs changes a channel class afterwards.
    server do |app|
      next unless RailsApp.cable?

      Cable.channels if app.config.eager_load
      # Made before the server forks, so that its workers have the same decision.
      Cable.decision
      # Only Puma has a method that each process calls when it begins to answer requests.
      next Cable.decide_by_route unless defined?(::Puma::Server)

      ::Puma::Server.prepend(Cable::PumaServer)
    end

    console do |app|
      Publisher.prepend(Sandbox) if app.sandbox? && !Lineside.config.record?
    end
  end
end
