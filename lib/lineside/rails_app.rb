# frozen_string_literal: true

require_relative "import_map"
require_relative "setting_form"

module Lineside
  # Properties of a Rails app from which the engine takes defaults.
  module RailsApp
    # String of `config.hosts`: a name, with a dot before it for all names below, and an optional port.
    HOST = /\A\.?[a-z0-9][a-z0-9._-]*(:\d+)?\z/i

    # Compressors that read no ES modules, and so fail with the browser module.
    OLD_COMPRESSORS = /uglif|yui|closure/i
    private_constant :HOST, :OLD_COMPRESSORS

    module_function

    # @return [Array<String>, nil] the app's `config.hosts` as a setting of the sidecar; nil if there are none, or if
    #   only Ruby can compare them
    def hosts(app)
      hosts = app.config.hosts.map do |host|
        case host
        when HOST then host.sub(/:\d+\z/, "")
        when IPAddr then "#{host}/#{host.prefix}"
        end
      end
      hosts unless hosts.empty? || hosts.include?(nil)
    end

    # @return [Boolean] whether the sidecar serves the app's Action Cable path
    def cable?
      # The server loads {Cable}.
      server = ::ActionCable.server if defined?(::ActionCable::Engine)
      !server.nil? && Cable.serves?(server.config)
    end

    # @return [String, nil] path of Action Cable, if the app mounts it at one that the sidecar can compare
    def cable_path(app)
      path = app.config.action_cable.mount_path if defined?(::ActionCable::Engine)
      path if path.to_s.match?(SettingForm::PATH)
    end

    # @return [Boolean] whether Sprockets compiles the browser module: unless the app's compressor cannot read it, or if
    #   the app pins it
    def compiles_module?(app)
      compressor = app.config.assets.js_compressor
      compressor = compressor.class unless compressor.is_a?(Symbol) || compressor.is_a?(Module)
      return true unless compressor.to_s.match?(OLD_COMPRESSORS)

      map = app.root.join(ImportMap::FILE)
      map.file? && map.read.match?(ImportMap::PIN)
    end

    # @return [String, nil] nil if the app has no key, as during assets:precompile, or if its credentials cannot be
    #   read, which is a line in the log. Signing then raises an error
    def key(app)
      app.secret_key_base
    rescue ArgumentError
      nil
    rescue StandardError => e
      Lineside.config.logger.warn("Lineside: the app's credentials cannot be read (#{e.class}), so there is no " \
                                  "secret to sign tokens: correct RAILS_MASTER_KEY or config/master.key, or set " \
                                  "SECRET_KEY_BASE")
      nil
    end
  end
end
