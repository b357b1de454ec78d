# frozen_string_literal: true

require "active_support/fork_tracker"

module Lineside
  # Lineside in a Rails application: `config.lineside.*`, the app's own key and folder, and in web processes a link that
  # is open before the first request. Loads nothing else, and prints nothing.
  class Engine < ::Rails::Engine
    # Any setting of {Configuration}. The environment wins; a name that is no setting ends the boot.
    config.lineside = ActiveSupport::OrderedOptions.new

    # After the app's own initializers, so that these may set something too.
    initializer "lineside.configure", after: :load_config_initializers do |app|
      found = { root: app.root.to_s, app_key: Engine.app_key(app) }
      Lineside.configure { |config| config.assign(found.merge(app.config.lineside)) }
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
