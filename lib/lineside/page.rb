# frozen_string_literal: true

require "json"

module Lineside
  # A page as far as Lineside goes: whose it is and what its token opens. The helper renders its first token, the token
  # endpoint its later ones, both from here.
  #
  # What `config.lineside.token` opens is asked anew for each token. What a page names itself (`channels:` and `allow:`
  # of the helper) travels with it, signed, and is renewed for as long as a token may live at most: a day.
  class Page
    # Longest time for which a page's own channels are renewed, in seconds.
    RENEWAL_SECONDS_MAX = 86_400

    # Stands for "the request's own user": nil is nobody.
    OWN = Object.new.freeze

    class << self
      # @param controller [ActionController::Metal]
      # @return [Object, nil] who the request comes from: what `config.lineside.user` says, else `Current.user`, else
      #   the controller's `current_user`; nil for nobody
      def user_of(controller)
        rule = Lineside.config.user
        return ask(controller, rule) if rule

        current_user || (controller.send(:current_user) if controller.respond_to?(:current_user, true))
      end

      # @return [Class] the controller of the app whose authentication holds: what `config.lineside.parent_controller`
      #   names, else `ApplicationController`
      def parent_controller
        named = Lineside.config.parent_controller
        named ? named.constantize : "ApplicationController".safe_constantize || ActionController::Base
      end

      # The page behind a request for a fresh token.
      #
      # @param renewal [String, nil] what {#renewal} gave to the page
      # @return [Page, nil] nil for nobody, and for a renewal that is forged or over
      def renewed(controller, renewal)
        user = user_of(controller)
        return (new(controller, user:) if user) unless renewal

        page = verify(renewal) or return
        return new(controller, user: nil, **page.slice(:channels, :allow)) unless page[:sub]
        return unless user

        # Another user's page: its channels were that user's.
        page = {} unless page[:sub] == UserId.of(user, Lineside.config)
        new(controller, user:, **page.slice(:channels, :allow))
      end

      # Calls a rule of the app in the controller's context, with the controller if it takes one.
      def ask(controller, rule)
        rule.arity.zero? ? controller.instance_exec(&rule) : controller.instance_exec(controller, &rule)
      end

      def verifier = Rails.application.message_verifier("lineside.page")

      private

      def current_user
        current = "Current".safe_constantize
        # Rails 6.1 does not say on the class what its instance answers to.
        current = current.instance if current.respond_to?(:instance)
        current.user if current.respond_to?(:user)
      end

      def verify(renewal)
        page = JSON.parse(verifier.verify(renewal.to_s), symbolize_names: true)
        page if page[:exp] > Time.now.to_i
      rescue ActiveSupport::MessageVerifier::InvalidSignature
        nil
      end
    end

    # @param user [Object, nil] as {UserId} reads it; nil for nobody
    # @param channels [Array] shared channels of this page, beside those of `config.lineside.token`
    # @param allow [Array] grants of this page, beside those
    def initialize(controller, user: OWN, channels: [], allow: [])
      @controller = controller
      @user = user.equal?(OWN) ? self.class.user_of(controller) : user
      @channels = channels
      @allow = allow
    end

    # @return [Boolean] whether it is somebody's
    def user? = !@user.nil?

    # @return [String] a fresh token
    # @raise [ArgumentError, ConfigurationError] as {Signing#token} does
    def token
      Lineside.token(@user, **granted, channels: [*granted[:channels], *@channels], allow: [*granted[:allow], *@allow])
    end

    # @param seconds [Integer] how long it lives
    # @return [String] what the identity cookie of the page's user holds, with the session that its token names
    # @raise [ArgumentError, ConfigurationError] as {Signing#token} does
    def identity(seconds)
      sid = granted[:session]&.then { |session| SessionId.of(session) }
      Native.sign_identity(Lineside.config.secret, sub:, sid:, seconds:)
    end

    # @return [String] where the page opens its socket: `config.lineside.url`, else the path, under the app's own root
    def url
      # What an app adds to all its paths, a locale say, comes as a query or as a slash at the end.
      Lineside.config.url || token_path[/\A[^?]+/].chomp("/").delete_suffix("/token")
    end

    # @return [String, nil] where the page gets fresh tokens; nil for the page of another than the request's own user,
    #   whose token nobody but the app can renew
    def token_url = renewable? ? token_path(renewal) : nil

    private

    # What the app's rule opens. It is asked once in a request, unless the user changes meanwhile.
    def granted
      rule = Lineside.config.token or return {}
      known = (@controller.request.env["lineside.granted"] ||= {})
      known[sub] ||= self.class.ask(@controller, rule).to_h
    end

    def token_path(renewal = nil) = @controller.main_app.lineside_token_path({ page: renewal }.compact)

    def renewable? = @user.nil? || (own = self.class.user_of(@controller) and sub == UserId.of(own, Lineside.config))

    def sub = @user.nil? ? nil : UserId.of(@user, Lineside.config)

    # What the rules alone would not give again; nil when there is nothing like that.
    def renewal
      return if @user && [*@channels, *@allow].empty?

      page = { sub:, channels: names(@channels), allow: names(@allow), exp: Time.now.to_i + RENEWAL_SECONDS_MAX }
      self.class.verifier.generate(JSON.generate(page))
    end

    # A String may be a prefix, which names no channel.
    def names(channels) = [*channels].map { |channel| channel.is_a?(String) ? channel : ChannelName.of(channel) }
  end
end
