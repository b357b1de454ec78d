# frozen_string_literal: true

module Lineside
  # Caches that may store a response.
  module Caching
    # Cache-Control values that allow or forbid shared caches to store a response (RFC 9111 §3).
    SHARED = /\b(public|s-maxage)\b/
    KEPT = /max-age=[1-9]/
    PRIVATE = /\b(private|no-store)\b/

    # Header fields that some shared caches prefer to Cache-Control: those of CDNs (RFC 9213), and nginx's.
    TARGETED = /\A(?:[a-z-]*CDN-Cache|Surrogate)-Control\z/i
    NGINX = /\AX-Accel-Expires\z/i

    class << self
      # @param response [ActionDispatch::Response]
      # @return [Boolean] whether shared caches may store it
      def shared?(response)
        header = response.headers["Cache-Control"].to_s
        response.cache_control[:public] || header.match?(SHARED) || kept?(header) ||
          response.headers.any? { |name, value| targeted?(name, value.to_s) }
      end

      private

      def targeted?(name, value)
        case name
        when TARGETED then value.match?(SHARED) || kept?(value)
        when NGINX then !value.match?(/\A(?:0|off)?\z/)
        end
      end

      def kept?(value) = value.match?(KEPT) && !value.match?(PRIVATE)
    end
  end
end
