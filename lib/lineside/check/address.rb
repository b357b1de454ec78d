# frozen_string_literal: true

module Lineside
  class Check
    # Checks of the WebSocket's address and of the policies that apply to it.
    class Address
      # An absolute WebSocket URL and its origin.
      ABSOLUTE = %r{\A(?<origin>wss?://[^/]+)}

      # Status of requests that the app refuses for other reasons than their path.
      BLOCKED = [301, 302, 307, 308, 401, 403].freeze

      # @param path [String] path below the root
      # @return [Hash] Rack environment of a WebSocket request that only asks whether it arrives
      def self.request(path, root)
        { "REQUEST_METHOD" => "GET", "SCRIPT_NAME" => root, "PATH_INFO" => path, "QUERY_STRING" => "",
          "SERVER_NAME" => "localhost", "SERVER_PORT" => "80", "HTTP_HOST" => "localhost",
          "REMOTE_ADDR" => "127.0.0.1", "HTTPS" => "on", "rack.url_scheme" => "https", "rack.input" => StringIO.new,
          "rack.errors" => $stderr, "HTTP_UPGRADE" => "websocket", HandOff::CHECK => true }
      end

      def initialize(app, config)
        @app = app
        @config = config
        @url = config.url
        @cookie = config.identity_cookie
      end

      def url
        return if @url.nil? || @url.start_with?("/")
        return "config.lineside.url is #{@url}; give wss://HOST/PATH, ws://HOST/PATH or /PATH" unless origin

        "config.lineside.url is #{@url}, which pages under https cannot open; give wss://" if
          @app.config.force_ssl && origin.start_with?("ws://")
      end

      # Asks the app for the path that the tags give, as a browser does.
      def path
        return Skipped.new("pages connect to #{@url}") if origin

        path = "#{root}#{@config.path}"
        status, headers, = @app.call(self.class.request(@config.path, root))
        return if headers.key?(HandOff::REACHED)
        return Skipped.new("the app answers #{status}; give its address in URL=") if BLOCKED.include?(status)

        "the app answers #{status} to a WebSocket request for #{path}; check whether a middleware or a route takes " \
          "this path, or set config.lineside.path"
      end

      def content_security_policy
        fixed, computed = sources.partition { |source| source.is_a?(String) }
        return if sources.empty? || fixed.any? { |source| opens?(source) }
        return Skipped.new("the policy computes its sources for each request") unless computed.empty?

        "the content security policy allows pages to connect to #{fixed.join(' ')} only; add #{origin || ':self'} " \
          "to connect_src in config/initializers/content_security_policy.rb"
      end

      # Warns if the identity cookie can travel unencrypted.
      def https
        return Skipped.new("this is no production environment") unless ::Rails.env.production?
        return if @app.config.force_ssl || !@cookie

        "the app also answers without https, where its identity cookie can be intercepted; set config.force_ssl, " \
          "unless a proxy in front of the app enforces https"
      end

      private

      def root = @app.config.relative_url_root.to_s

      # Sources to which pages may connect; empty if any.
      def sources
        directives = @app.config.content_security_policy&.directives.to_h
        Array(directives["connect-src"] || directives["default-src"])
      end

      # Whether a source of the policy allows the address.
      def opens?(source)
        return true if source == "*"

        origin ? origin.start_with?(source) : ["'self'", "ws:", "wss:"].include?(source)
      end

      def origin = @url&.match(ABSOLUTE)&.[](:origin)
    end
  end
end
