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

      # Identity cookies of this app and of others on the host, the only cookies sent. The sidecar ignores foreign ones.
      IDENTITY = /(?:\A|[;,])\s*(lineside(?:_\w*)?=[^;,\s]*)/

      # Placeholder if the browser's IP address is unknown, such as behind a Unix socket. Only logged.
      NO_ADDRESS = "0.0.0.0"

      # Fields in which proxies report the request that they received, as keys of the Rack environment.
      FORWARDED = Native::FORWARDED_FIELDS.map { |name| "HTTP_#{name.upcase.tr('-', '_')}" }.freeze

      class << self
        # @param env [Hash] Rack environment
        # @return [Boolean] whether this is a WebSocket request for our path, with or without the relative URL root
        def ours?(env)
          return false unless web_socket?(env)

          path = Lineside.config.path
          root = ::Rails.application&.config&.relative_url_root
          [path, "#{root}#{path}"].include?(env["PATH_INFO"])
        end

        # @param env [Hash] Rack environment
        # @return [Boolean] whether this is a WebSocket request, also if a proxy removed the Upgrade header and left
        #   Sec-WebSocket-Key
        def web_socket?(env)
          env["REQUEST_METHOD"] == "GET" && (upgrade?(env) || env.key?("HTTP_SEC_WEBSOCKET_KEY"))
        end

        # @param env [Hash] Rack environment
        # @return [Boolean] whether the request has the Upgrade header, which is a list
        def upgrade?(env) = env["HTTP_UPGRADE"].to_s.b.split(/[,\s]+/).any? { |it| it.casecmp?("websocket") }
      end

      # @param env [Hash] Rack environment, after `ActionDispatch::RemoteIp`
      def initialize(env)
        @env = env
        @request = ActionDispatch::Request.new(env)
      end

      # @return [String] IP address of the browser, according to the app's trusted proxies. Only logged, so header
      #   fields that contradict each other refuse no browser.
      def peer
        @request.remote_ip || NO_ADDRESS
      rescue ActionDispatch::RemoteIp::IpSpoofAttackError, IPAddr::Error
        NO_ADDRESS
      end

      # @return [String] the app's origin, by the rule of the sidecar's own port; empty if the host is none. Like Rails'
      #   forgery protection, it believes the forwarded fields of any peer.
      def origin
        host = @env["HTTP_HOST"] || "#{@env['SERVER_NAME']}:#{@env['SERVER_PORT']}"
        Native.server_origin(@request.scheme.to_s, host, peer, @env.values_at(*FORWARDED).map(&:to_s)).to_s
      end

      # @return [String] head of the request, and the bytes that the server has read after it
      def bytes
        query = @env["QUERY_STRING"].to_s
        target = Lineside.config.path + (query.empty? ? "" : "?#{query}")
        fields = HEADERS.filter_map do |name|
          value = @env["HTTP_#{name.upcase.tr('-', '_')}"]
          "#{name}: #{value}" if value
        end
        ["GET #{target} HTTP/1.1", *fields, *cookie, "", ""].map(&:b).join("\r\n") << read_ahead
      end

      private

      # Other cookies may hold any bytes.
      def cookie
        found = @env["HTTP_COOKIE"].to_s.b.scan(IDENTITY)
        "Cookie: #{found.join('; ')}" unless found.empty?
      end

      # Bytes that Puma has read beyond the head, such as the browser's first frame. They are in a buffer of its client.
      # Other servers read the head only.
      def read_ahead
        client = [@env["rack.hijack"], receiver(@env["rack.hijack"])].find { |it| puma_client?(it) }
        client ? client.instance_variable_get(:@buffer).to_s : ""
      end

      def puma_client?(object) = defined?(::Puma::Client) && object.is_a?(::Puma::Client)

      # Object behind rack.hijack: in Puma 5 and 6 the client itself, in Puma 7 one of its methods, in Puma 8 such a
      # method as a Proc.
      def receiver(hijack)
        case hijack
        when Method then hijack.receiver
        when Proc then hijack.binding.receiver
        end
      rescue ArgumentError
        # A Proc of a method in C.
      end
    end
  end
end
