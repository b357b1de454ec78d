# frozen_string_literal: true

module Lineside
  class Check
    # Where pages open the socket, and whether they may.
    class Address
      # An address of another place than the page's own, and its origin.
      ELSEWHERE = %r{\A(?<origin>wss?://[^/]+)}

      def initialize(app, config)
        @app = app
        @url = config.url
        @cookie = config.identity_cookie
      end

      def url
        return if @url.nil? || @url.start_with?("/")
        return "config.lineside.url is #{@url}; give wss://HOST/PATH, ws://HOST/PATH or /PATH" unless origin

        "config.lineside.url is #{@url}, which no page under https may open; give wss://" if
          @app.config.force_ssl && origin.start_with?("ws://")
      end

      def content_security_policy
        directives = @app.config.content_security_policy&.directives.to_h
        sources = directives["connect-src"] || directives["default-src"]
        return unless sources.is_a?(Array) && sources.none? { |source| opens?(source) }

        "the content security policy lets pages connect to #{sources.join(' ')} only; add #{origin || ':self'} to " \
          "connect_src in config/initializers/content_security_policy.rb"
      end

      # Whether the identity cookie may be read on its way.
      def https
        return if !::Rails.env.production? || @app.config.force_ssl || !@cookie

        "the app answers without https too, and its identity cookie can be read on its way then; set " \
          "config.force_ssl, unless a proxy before the app sees to it"
      end

      private

      # What is decided anew for each request may.
      def opens?(source)
        return true if !source.is_a?(String) || source == "*"

        origin ? origin.start_with?(source) : ["'self'", "ws:", "wss:"].include?(source)
      end

      def origin = @url&.match(ELSEWHERE)&.[](:origin)
    end
  end
end
