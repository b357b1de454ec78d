# frozen_string_literal: true

module Lineside
  # Caches that may store a response.
  module Caching
    # Cache-Control values that allow or forbid shared caches to store a response (RFC 9111 §3).
    SHARED = /\b(public|s-maxage)\b/
    KEPT = /max-age=[1-9]/
    PRIVATE = /\b(private|no-store)\b/

    # @param response [ActionDispatch::Response]
    # @return [Boolean] whether shared caches may store it
    def self.shared?(response)
      header = response.headers["Cache-Control"].to_s
      response.cache_control[:public] || header.match?(SHARED) || (header.match?(KEPT) && !header.match?(PRIVATE))
    end
  end
end
