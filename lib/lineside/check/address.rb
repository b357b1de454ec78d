# frozen_string_literal: true

module Lineside
  class Check
    # Checks of the WebSocket's address and of the policies that apply to it.
    class Address
      # An absolute WebSocket URL and its origin.
      ABSOLUTE = %r{\A(?<origin>wss?://[^/]+)}

      def initialize(app, config)
        @app = app
        @url = config.url
        @cookie = config.identity_cookie
      end

      def url
        return if @url.nil? || @url.start_with?("/")
        return "config.lineside.url is #{@url}; give wss://HOST/PATH, ws://HOST/PATH or /PATH" unless origin

        "config.lineside.url is #{@url}, which pages under https cannot open; give wss://" if
          @app.config.force_ssl && origin.start_with?("ws://")
      end

      def content_security_policy
        directives = @app.config.content_security_policy&.directives.to_h
        sources = directives["connect-src"] || directives["default-src"]
        return unless sources.is_a?(Array) && sources.none? { |source| opens?(source) }

        "the content security policy allows pages to connect to #{sources.join(' ')} only; add #{origin || ':self'} " \
          "to connect_src in config/initializers/content_security_policy.rb"
      end

      # Warns if the identity cookie can travel unencrypted.
      def https
        return if !::Rails.env.production? || @app.config.force_ssl || !@cookie

        "the app also answers without https, where its identity cookie can be intercepted; set config.force_ssl, " \
          "unless a proxy in front of the app enforces https"
      end

      private

      # Whether a source of the policy allows the address. Sources computed for each request count as allowed.
      def opens?(source)
        return true if !source.is_a?(String) || source == "*"

        origin ? origin.start_with?(source) : ["'self'", "ws:", "wss:"].include?(source)
      end

      def origin = @url&.match(ABSOLUTE)&.[](:origin)
    end
  end
end
