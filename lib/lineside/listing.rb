# frozen_string_literal: true

require "shellwords"
require_relative "turbo_keys"

module Lineside
  # Settings in effect as `NAME=value` lines for a shell, used by `bin/rails lineside:env`.
  module Listing
    REDACTED = "[redacted]"

    module_function

    # @param config [Configuration]
    # @param reveal [Boolean] whether to include the secret itself
    # @return [Array<String>]
    def of(config, reveal: false)
      settings = Configuration::SETTINGS.to_h { |name, it| [it.variable, Array(config.public_send(name)).join(",")] }
      secrets = secret(config, reveal).merge(turbo_keys(config, reveal))
      values = { **settings, "LINESIDE_LINK" => "unix:#{config.link_path}", **secrets }
      values.reject { |_, value| value.empty? }
            .map { |name, value| "#{name}=#{value == REDACTED ? value : value.shellescape}" }
    end

    # The secret, or the path of its file, whose content can change.
    def secret(config, reveal)
      file = ENV.fetch("LINESIDE_SECRET_FILE", "")
      return { "LINESIDE_SECRET_FILE" => file } unless file.empty?
      return {} unless config.secret?

      { "LINESIDE_SECRET" => reveal ? config.secret : REDACTED }
    end

    # The keys of Turbo, as they are passed to the sidecar.
    def turbo_keys(config, reveal)
      keys = ENV.fetch("LINESIDE_TURBO_KEYS", "")
      keys = TurboKeys.of(config).to_s if keys.empty?
      { "LINESIDE_TURBO_KEYS" => reveal || keys.empty? ? keys : REDACTED }
    end

    private_class_method :secret, :turbo_keys
  end
end
