# frozen_string_literal: true

module Lineside
  # Keys of Turbo's signed stream names for connections of Action Cable that a proxy sends to the sidecar, past the app.
  #
  # The sidecar gets them only if the app has set `cable_identity`, and only if the app would decide by the signature
  # alone. It rejects Turbo's streams without keys.
  module TurboKeys
    module_function

    # @param config [Configuration] of an app that has booted
    # @return [String, nil] keys in base64, comma-separated; nil if the sidecar must not have them
    def of(config)
      keys = Cable.channels.turbo_keys if config.cable_identity && rails_app?
      keys&.map { |key| [key].pack("m0") }&.join(",")
    end

    # @return [String, nil] reason why the app decides about Turbo's streams itself; nil if it does not, or has no Turbo
    def obstacle = (Cable.channels.app[Cable::TurboStreams::NAME] if rails_app?)

    # @return [Boolean] whether the app is one of Rails whose Action Cable is the sidecar's
    def rails_app? = defined?(Lineside::RailsApp) ? RailsApp.cable? : false

    private_class_method :rails_app?
  end
end
