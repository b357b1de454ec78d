# frozen_string_literal: true

module Lineside
  # Keys of Turbo's signed stream names for connections of Action Cable that a proxy sends to the sidecar, past the app.
  #
  # The sidecar gets the keys only if the app has set `cable_identity`, and only if the app would decide by the
  # signature alone. Without keys, it rejects Turbo's streams. {Launcher} gives the keys when the sidecar starts, and
  # each process of the app that answers requests sends them on its {AppLink}. The app that booted last decides.
  module TurboKeys
    module_function

    # @param config [Configuration] of an app that has booted
    # @return [String, nil] keys in base64, comma-separated; nil if the sidecar must not have them
    def of(config) = list(config)&.join(",")

    # The app's decision for the hello of an {AppLink}. Has no keys if the channel classes cannot be found, which is
    # logged.
    #
    # @param config [Configuration] of an app that has booted
    # @return [Hash, nil] `turbo_keys` in base64, and `decided_ms`, the current time in milliseconds since the Unix
    #   epoch; nil if the app has not set `cable_identity`
    def decision(config)
      return unless config.cable_identity

      { turbo_keys: list(config) || [], decided_ms: now_ms }
    rescue StandardError, ScriptError => e
      config.logger.error("Lineside: the sidecar rejects Turbo's streams by route, because the app's channel classes " \
                          "cannot be found: #{e.class}, #{Printable.of(e.message)}")
      { turbo_keys: [], decided_ms: now_ms }
    end

    # @return [String, nil] reason why the app decides about Turbo's streams itself; nil if it does not, or has no Turbo
    def obstacle = (Cable.channels.app[Cable::TurboStreams::NAME] if rails_app?)

    # @return [Boolean] whether the app is one of Rails whose Action Cable is the sidecar's
    def rails_app? = defined?(Lineside::RailsApp) ? RailsApp.cable? : false

    # @return [Array<String>, nil] keys in base64
    def list(config)
      keys = Cable.channels.turbo_keys if config.cable_identity && rails_app?
      keys&.map { |key| [key].pack("m0") }
    end

    def now_ms = Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond)

    private_class_method :rails_app?, :list, :now_ms
  end
end
