# frozen_string_literal: true

require "json"
require_relative "grants"
require_relative "request_user"

module Lineside
  # User and grants of a page. Signs the page's first token for the helper, and the later ones for the token endpoint.
  #
  # Grants of `config.lineside.token` are evaluated for each token, and belong to the request's user. A page of another
  # user has none of them, and a page of nobody has those of nobody. A page's own grants (`channels:` and `allow:` of
  # the helper) are signed into its permit, and renewed for up to a day after the page was rendered.
  class Page
    # Maximum time for which a page's own grants are renewed, in seconds.
    RENEWAL_SECONDS_MAX = 86_400

    # Maximum length of an identifier of Action Cable in the identity cookie, in bytes. A longer one is left out, so
    # `remote_connections` does not reach these connections by route.
    IDENTIFIER_BYTES_MAX = 255

    # Default of `user:`, the request's user; nil means anonymous.
    OWN = Object.new.freeze

    class << self
      # @return [Class] controller that authenticates requests: `config.lineside.parent_controller` if it is set, else
      #   `ApplicationController`
      # @raise [ConfigurationError] if there is none with the name that is set
      def parent_controller
        name = Lineside.config.parent_controller
        found = (name || "ApplicationController").safe_constantize
        return found || ActionController::Base unless name
        return found if found.is_a?(Class) && found <= ActionController::Metal

        raise ConfigurationError, "parent_controller is #{name.inspect}, and there is no such controller: give the " \
                                  "one that authenticates users, such as \"ApplicationController\""
      end

      # Page of a request for a fresh token.
      #
      # @param permit [String, nil] signed grants from {#permit}
      # @return [Page, nil] nil if nobody is signed in, or the permit is forged or expired
      def renewed(controller, permit)
        user = RequestUser.of(controller)
        return (new(controller, user:) if user) unless permit

        page = verify(permit) or return
        return new(controller, user: nil, **page.slice(:channels, :allow, :granted)) unless page[:sub]
        return unless user

        # The page was rendered for another user, so its grants do not apply.
        page = {} unless page[:sub] == UserId.of(user, Lineside.config)
        new(controller, user:, **page.slice(:channels, :allow))
      end

      def verifier = Rails.application.message_verifier("lineside.page")

      private

      def verify(permit)
        page = JSON.parse(verifier.verify(permit.to_s), symbolize_names: true)
        page if page[:exp] > Time.now.to_i
      rescue ActiveSupport::MessageVerifier::InvalidSignature
        nil
      end
    end

    # @param user [Object, nil] user of the page, identified by {UserId}; nil for an anonymous page
    # @param channels [Array] shared channels of this page, in addition to those of `config.lineside.token`
    # @param allow [Array] grants of this page, in addition to those of `config.lineside.token`
    # @param granted [Hash] grants of `config.lineside.token` if the request's user is another one
    def initialize(controller, user: OWN, channels: [], allow: [], granted: {})
      @controller = controller
      @user = user.equal?(OWN) ? requester : user
      @channels = channels
      @allow = allow
      @granted = granted
    end

    # @return [Boolean] whether the page has a user
    def user? = !@user.nil?

    # @return [String] a fresh token
    # @raise [ArgumentError, ConfigurationError] as {Signing#token} does
    def token
      Lineside.token(@user, **granted, channels: [*granted[:channels], *@channels], allow: [*granted[:allow], *@allow])
    end

    # @param seconds [Integer] lifetime
    # @return [String] value of the identity cookie, with the user and session of the page's token
    # @raise [ArgumentError, ConfigurationError] as {Signing#token} does
    def identity(seconds)
      sid = granted[:session]&.then { |session| SessionId.of(session) }
      Native.sign_identity(Lineside.config.secret, sub:, sid:, seconds:, identifier:)
    end

    # @return [String] URL of the WebSocket: `config.lineside.url` if it is set, else the path below the app's root
    def url
      # Strips a query or trailing slash that the app adds to all its paths, such as a locale.
      Lineside.config.url || token_path[/\A[^?]+/].chomp("/").delete_suffix("/token").presence || "/"
    end

    # @return [String] path of the app's root, which pages and WebSocket share
    def root
      root = Lineside.config.url ? "" : url.delete_suffix(Lineside.config.path)
      root.empty? ? "/" : root
    end

    # @return [String, nil] URL of the token endpoint; nil if the page's user is not the request's user, because the
    #   endpoint cannot renew that token
    def token_url = renewable? ? token_path : nil

    # @return [String, nil] signed grants of the page, for the token endpoint; nil if the app's rules alone give the
    #   same token again
    def permit
      return if @user && (!own? || [*@channels, *@allow].empty?)

      page = { sub:, channels: names(@channels), allow: names(@allow), exp: Time.now.to_i + RENEWAL_SECONDS_MAX }
      page[:granted] = granted_to_nobody unless @user
      self.class.verifier.generate(JSON.generate(page))
    end

    private

    # Grants of `config.lineside.token` for the page's user. The rule knows the request's user only.
    def granted = own? ? evaluated : @granted

    # Grants of the request's user, evaluated once for each request and user.
    def evaluated
      rule = Lineside.config.token or return {}
      known = (@controller.request.env["lineside.granted"] ||= {})
      known[sub] ||= Grants.check(RequestUser.evaluate(@controller, rule))
    end

    def token_path = @controller.main_app.lineside_token_path

    def renewable? = @user.nil? || own?

    # Whether the page's user is the request's user.
    def own? = sub == (requester && UserId.of(requester, Lineside.config))

    def requester
      @requester = RequestUser.of(@controller) unless defined?(@requester)
      @requester
    end

    def sub = @user.nil? ? nil : UserId.of(@user, Lineside.config)

    # Identifier that Rails gives a connection of Action Cable that is identified by the user alone
    # (`ActionCable::Connection::Identification`), for connections by route. nil unless `cable_identity` is set, and for
    # an identifier that cannot be part of a stream's name.
    def identifier
      return unless Lineside.config.cable_identity

      identifier = (@user.respond_to?(:to_gid_param) ? @user.to_gid_param : @user).to_s
      is_usable = identifier.bytesize.between?(1, IDENTIFIER_BYTES_MAX) &&
                  Native.cable_stream_problem("action_cable/#{identifier}").nil?
      identifier if is_usable
    end

    # Grants that nobody has, for a renewal by a user who has signed in since.
    def granted_to_nobody
      { channels: names(granted[:channels]), allow: names(granted[:allow]), expires_in: granted[:expires_in]&.to_i }
        .compact
    end

    # Keeps Strings as they are, because they can be prefixes.
    def names(channels) = [*channels].map { |channel| channel.is_a?(String) ? channel : ChannelName.of(channel) }
  end
end
