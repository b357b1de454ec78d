# frozen_string_literal: true

require_relative "caching"
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
    # @return [ActiveSupport::SafeBuffer] without token and permit if shared caches may store a user's page
    # @raise [ArgumentError, ConfigurationError] as {Signing#token} does
    # @raise [ConfigurationError] in development and test, if shared caches may store a user's page
    def lineside_meta_tags(user: Page::OWN, channels: [], allow: [])
      page = Page.new(controller, user:, channels:, allow:)
      return Helper.tags(self, url: page.url, cursor: Lineside.request_cursor) if Helper.withheld?(page, controller)

      contents = { url: page.url, token: page.token, cursor: Lineside.request_cursor, "token-url": page.token_url,
                   permit: page.permit }
      Helper.tags(self, contents)
    end

    # Name of a record's channel, for the page's script.
    #
    #   <div data-channel="<%= lineside_channel(order) %>"></div>
    #
    # @param channel [Object] as for {Publishing#publish}: a record, a String or an Array of them
    # @return [String]
    # @raise [ArgumentError] if the channel has no valid name
    def lineside_channel(channel) = ChannelName.of(channel)

    class << self
      # @api private
      def tags(view, contents)
        tags = contents.compact.map { |name, content| view.tag.meta(name: "lineside-#{name}", content:) }
        view.safe_join(tags, "\n")
      end

      # Whether the token must not be rendered, because a shared cache would give it to other visitors.
      # @api private
      def withheld?(page, controller)
        return false unless page.user? && Caching.shared?(controller.response)

        mistake = "#{controller.class}##{controller.action_name} lets shared caches store a page with the token of " \
                  "its user: remove `public: true`, or render lineside_meta_tags user: nil"
        raise ConfigurationError, mistake if ::Rails.env.development? || ::Rails.env.test?

        Lineside.config.logger.error("Lineside renders no token: #{mistake}")
        true
      end
    end
  end
end
