# frozen_string_literal: true

require "shellwords"

module Lineside
  # The settings in effect, as `NAME=value` lines that a shell reads: for what has no app to ask.
  module Listing
    REDACTED = "[redacted]"

    module_function

    # @param config [Configuration]
    # @param reveal [Boolean] whether the secret itself is among it
    # @return [Array<String>]
    def of(config, reveal: false)
      settings = Configuration::SETTINGS.to_h { |name, it| [it.variable, Array(config.public_send(name)).join(",")] }
      values = { **settings, "LINESIDE_LINK" => "unix:#{config.link_path}", **secret(config, reveal) }
      values.reject { |_, value| value.empty? }
            .map { |name, value| "#{name}=#{value == REDACTED ? value : value.shellescape}" }
    end

    # A file is named, not read: its owner may change it.
    def secret(config, reveal)
      file = ENV.fetch("LINESIDE_SECRET_FILE", "")
      return { "LINESIDE_SECRET_FILE" => file } unless file.empty?
      return {} unless config.secret?

      { "LINESIDE_SECRET" => reveal ? config.secret : REDACTED }
    end

    private_class_method :secret
  end
end
