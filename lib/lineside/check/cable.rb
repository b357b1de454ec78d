# frozen_string_literal: true

require_relative "../turbo_keys"

module Lineside
  class Check
    # Checks of Action Cable, if `config/cable.yml` has `adapter: lineside`.
    class Cable
      # A URL on this machine, such as that of a WebSocket server in development.
      LOCAL = %r{\Awss?://(localhost|127\.0\.0\.1|\[::1\])[:/]}

      def initialize(app, config)
        @app = app
        @config = config
      end

      # Says which channels run where.
      def action_cable
        return skipped unless RailsApp.cable?

        Found.new("channels run #{Lineside::Cable.channels.summary}")
      end

      # Asks the app for its Action Cable path, as a browser does.
      def action_cable_path
        return skipped unless RailsApp.cable?
        return Skipped.new("config.action_cable.mount_path is nil") unless path

        status, headers, = @app.call(request)
        return if headers.key?(HandOff::REACHED)
        return Skipped.new("the app answers #{status}") if Address::BLOCKED.include?(status)

        "the app answers #{status} to a WebSocket request for #{path}; check whether a middleware or a route takes " \
          "this path, or an origin is missing in config.action_cable.allowed_request_origins"
      end

      # Finds an address of pages that is left from another WebSocket server.
      def action_cable_url
        return skipped unless RailsApp.cable?
        return if url.empty? || url == address

        if url.match?(%r{\Awss?://[^/]+#{Regexp.escape(address)}\z}) && !url.match?(LOCAL)
          return Found.new("pages connect to #{url} (config.action_cable.url), which must lead to this app or its " \
                           "sidecar")
        end

        "pages connect to #{url}; remove config.action_cable.url, unless this address leads to #{address} of this " \
          "app or of its sidecar"
      end

      # Says what the sidecar does with connections that a proxy sends to its own port, past the app.
      def action_cable_by_route
        return skipped unless RailsApp.cable?
        return Skipped.new("config.lineside.cable_identity is not set") unless @config.cable_identity

        changed || no_cookie ||
          Found.new("connections that a proxy sends to #{@config.cable_path} on the sidecar's port are identified " \
                    "by the identity cookie (#{@config.cable_identity}); the app's connect does not run for them")
      end

      private

      # With keys, the sidecar would open by route what the app refuses.
      def changed
        obstacle = TurboKeys.obstacle or return
        if ENV.fetch("LINESIDE_TURBO_KEYS", "").empty?
          "Turbo::StreamsChannel #{obstacle}, so the sidecar rejects it by route; let the proxy send the path of " \
            "Action Cable to the app, and unset config.lineside.cable_identity"
        else
          "Turbo::StreamsChannel #{obstacle}, but LINESIDE_TURBO_KEYS is set, with which the sidecar opens its " \
            "streams by route until a process of the app has linked; unset it"
        end
      end

      def no_cookie
        return if @config.identity_cookie || @config.cable_identity == "optional"

        "config.lineside.identity_cookie is false, so the sidecar refuses all pages by route; set it to true"
      end

      def skipped = Skipped.new("config/cable.yml does not say adapter: lineside")

      def path = @app.config.action_cable.mount_path

      def url = ::ActionCable.server.config.url.to_s

      # Path with the app's prefix.
      def address = "#{root}#{path}"

      def root = @app.config.relative_url_root.to_s

      def request
        Address.request(path, root)
               .merge("HTTP_CONNECTION" => "Upgrade", "HTTP_ORIGIN" => "https://localhost",
                      "HTTP_SEC_WEBSOCKET_VERSION" => "13", "HTTP_SEC_WEBSOCKET_KEY" => "bGluZXNpZGUgY2hlY2tzIQ==")
      end
    end
  end
end
