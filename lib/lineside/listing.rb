# frozen_string_literal: true

require "shellwords"

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
      values = { **settings, "LINESIDE_LINK" => "unix:#{config.link_path}", **secret(config, reveal) }
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

    private_class_method :secret
  end
end
