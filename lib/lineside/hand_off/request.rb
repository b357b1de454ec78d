# frozen_string_literal: true

require "action_dispatch"

module Lineside
  class HandOff
    # A browser's request for the WebSocket, as the sidecar is told it.
    class Request
      # What an upgrade needs (RFC 6455 §4.1). What proxies have added, and all cookies but one, stay in the app.
      HEADERS = %w[
        Host Upgrade Connection Origin
        Sec-WebSocket-Key Sec-WebSocket-Version Sec-WebSocket-Protocol Sec-WebSocket-Extensions
      ].freeze

      # The cookie that says whose browser it is, however often it comes: the sidecar decides what that means.
      IDENTITY = /(?:\A|[;,])\s*(lineside=[^;,\s]*)/

      # For a browser without an address, as behind a server's Unix socket; it is only logged.
      NO_ADDRESS = "0.0.0.0"

      # @param env [Hash] of Rack
      # @return [Boolean] whether a browser asks for the WebSocket, also below a relative URL root that no map has taken
      #   off. Proxies that pass no Upgrade on leave the key in.
      def self.ours?(env)
        return false unless (upgrade?(env) || env["HTTP_SEC_WEBSOCKET_KEY"]) && env["REQUEST_METHOD"] == "GET"

        root = ::Rails.application&.config&.relative_url_root
        env["PATH_INFO"].delete_prefix(root.to_s) == Lineside.config.path
      end

      # @param env [Hash] of Rack
      # @return [Boolean]
      def self.upgrade?(env) = env["HTTP_UPGRADE"]&.casecmp?("websocket") || false

      # @param env [Hash] of Rack, with what `ActionDispatch::RemoteIp` adds
      def initialize(env)
        @env = env
        @request = ActionDispatch::Request.new(env)
      end

      # @return [String] the browser's IP address, as far as the app's trusted proxies tell
      # @raise [ActionDispatch::RemoteIp::IpSpoofAttackError] if they contradict each other
      def peer = @request.remote_ip || NO_ADDRESS

      # @return [String] the app's own origin, as Rails compares it for forgery protection
      def origin = @request.base_url

      # @return [String] the head, and what the server has read behind it
      def bytes
        query = @env["QUERY_STRING"].to_s
        target = Lineside.config.path + (query.empty? ? "" : "?#{query}")
        fields = HEADERS.filter_map do |name|
          value = @env["HTTP_#{name.upcase.tr('-', '_')}"]
          "#{name}: #{value}" if value
        end
        ["GET #{target} HTTP/1.1", *fields, *cookie, "", ""].join("\r\n").b << read_ahead
      end

      private

      def cookie
        found = @env["HTTP_COOKIE"].to_s.scan(IDENTITY)
        "Cookie: #{found.join('; ')}" unless found.empty?
      end

      # Puma reads as much as there is, so the browser's first frame may be in its hands. It keeps that in its client,
      # which is what hijacks (Puma 5), or whose method does (from 6 on). Other servers stop at the head's end.
      def read_ahead
        hijack = @env["rack.hijack"]
        client = hijack.is_a?(Method) ? hijack.receiver : hijack
        return "" unless defined?(::Puma::Client) && client.is_a?(::Puma::Client)

        client.instance_variable_get(:@buffer).to_s
      end
    end
  end
end
