# frozen_string_literal: true

require_relative "page"

module Lineside
  # For views. A page rendered with these is one user's, at one moment: not to be cached for others.
  module Helper
    # What the page's script connects with, as `<meta>` tags for the head: `lineside-url`, `lineside-token`,
    # `lineside-cursor` and `lineside-token-url`.
    #
    #   <%= lineside_meta_tags channels: ["orders"] %>
    #
    # @param user [Object, nil] whose page it is; without it the request's own user, by `config.lineside.user`; nil for
    #   nobody. The page of any other user gets no `lineside-token-url`: the endpoint knows only who asks.
    # @param channels [Array] shared channels that are subscribed on connect, beside those of `config.lineside.token`
    # @param allow [Array] channels, or prefixes ending in `:*`, that may be subscribed on request, beside those
    # @return [ActiveSupport::SafeBuffer]
    # @raise [ArgumentError, ConfigurationError] as {Signing#token} does
    def lineside_meta_tags(user: Page::OWN, channels: [], allow: [])
      page = Page.new(controller, user:, channels:, allow:)
      contents = { url: page.url, token: page.token, cursor: Lineside.request_cursor, "token-url": page.token_url }
      safe_join(contents.compact.map { |name, content| tag.meta(name: "lineside-#{name}", content:) }, "\n")
    end
  end
end
