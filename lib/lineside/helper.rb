# frozen_string_literal: true

require_relative "page"

module Lineside
  # View helpers. Do not cache their output for other users: it contains a token.
  module Helper
    # Renders the `<meta>` tags that the browser module reads: `lineside-url`, `lineside-token`, `lineside-cursor`,
    # `lineside-token-url` and `lineside-permit`.
    #
    #   <%= lineside_meta_tags channels: ["orders"] %>
    #
    # @param user [Object, nil] user of the token. Default: the request's user, by `config.lineside.user`. nil: an
    #   anonymous page. For a user other than the request's there is no `lineside-token-url`, because the endpoint
    #   renews tokens of the request's user only.
    # @param channels [Array] shared channels subscribed on connect, in addition to those of `config.lineside.token`
    # @param allow [Array] channels, or prefixes ending in `:*`, that the page may subscribe to, in addition to those of
    #   `config.lineside.token`
    # @return [ActiveSupport::SafeBuffer]
    # @raise [ArgumentError, ConfigurationError] as {Signing#token} does
    def lineside_meta_tags(user: Page::OWN, channels: [], allow: [])
      page = Page.new(controller, user:, channels:, allow:)
      contents = { url: page.url, token: page.token, cursor: Lineside.request_cursor, "token-url": page.token_url,
                   permit: page.permit }
      safe_join(contents.compact.map { |name, content| tag.meta(name: "lineside-#{name}", content:) }, "\n")
    end
  end
end
