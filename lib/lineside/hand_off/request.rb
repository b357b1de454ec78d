# frozen_string_literal: true

require "action_dispatch"

module Lineside
  class HandOff
    # WebSocket request of a browser, in the form that is sent to the sidecar.
    class Request
      # Header fields of an upgrade (RFC 6455 §4.1). Other fields, such as those added by proxies, are not sent.
      HEADERS = %w[
        Host Upgrade Connection Origin
        Sec-WebSocket-Key Sec-WebSocket-Version Sec-WebSocket-Protocol Sec-WebSocket-Extensions
      ].freeze

      # The identity cookie, the only cookie sent. All its occurrences are sent: the sidecar rejects duplicates.
      IDENTITY = /(?:\A|[;,])\s*(lineside=[^;,\s]*)/

      # Placeholder if the browser's IP address is unknown, such as behind a Unix socket. Only logged.
      NO_ADDRESS = "0.0.0.0"

      # @param env [Hash] Rack environment
      # @return [Boolean] whether this is a WebSocket request for our path, with or without the relative URL root. Also
      #   true if a proxy removed the Upgrade header and left Sec-WebSocket-Key.
      def self.ours?(env)
        return false unless (upgrade?(env) || env["HTTP_SEC_WEBSOCKET_KEY"]) && env["REQUEST_METHOD"] == "GET"

        root = ::Rails.application&.config&.relative_url_root
        env["PATH_INFO"].delete_prefix(root.to_s) == Lineside.config.path
      end

      # @param env [Hash] Rack environment
      # @return [Boolean] whether the request has the Upgrade header
      def self.upgrade?(env) = env["HTTP_UPGRADE"]&.casecmp?("websocket") || false

      # @param env [Hash] Rack environment, after `ActionDispatch::RemoteIp`
      def initialize(env)
        @env = env
        @request = ActionDispatch::Request.new(env)
      end

      # @return [String] IP address of the browser, according to the app's trusted proxies
      # @raise [ActionDispatch::RemoteIp::IpSpoofAttackError] if the header fields contradict each other
      def peer = @request.remote_ip || NO_ADDRESS

      # @return [String] the app's origin, as in Rails' forgery protection
      def origin = @request.base_url

      # @return [String] head of the request, and the bytes that the server has read after it
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

      # Bytes that Puma has read beyond the head, such as the browser's first frame. They are in a buffer of its client,
      # which is the value of rack.hijack (Puma 5), or the receiver of that method (Puma 6 and later). Other servers
      # read the head only.
      def read_ahead
        hijack = @env["rack.hijack"]
        client = hijack.is_a?(Method) ? hijack.receiver : hijack
        return "" unless defined?(::Puma::Client) && client.is_a?(::Puma::Client)

        client.instance_variable_get(:@buffer).to_s
      end
    end
  end
end
