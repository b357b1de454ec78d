# frozen_string_literal: true

require "openssl"
require_relative "caching"
require_relative "page"

module Lineside
  # Identity cookie: identifies the user of a browser to the sidecar, so that `new WebSocket("/lineside")` receives the
  # user's channel without a token.
  #
  # The app's controllers ({Page.parent_controller} and its subclasses) set it with each page for a signed-in user, and
  # the token endpoint sets it with each token. The response to a sign-out deletes it, and so does a page on which the
  # app has looked for a user and found none. A response that shared caches may store never sets or deletes it.
  class Identity
    # Beginning of the cookie's name, and its maximum lifetime in seconds. The sidecar has the same values.
    NAME = "lineside"
    SECONDS_MAX = 3600

    class << self
      # @return [String] name of the cookie. Differs between apps, because browsers share cookies between all ports of a
      #   host. The sidecar accepts any suffix
      def cookie
        secret = Lineside.config.secret.split(",").first
        "#{NAME}_#{OpenSSL::HMAC.hexdigest('SHA256', secret, 'lineside cookie name v1')[0, 8]}"
      end

      # Updates the cookie after an action. An error in the app's rules does not affect the response: it is logged once.
      # @param controller [ActionController::Base]
      # @return [void]
      def update(controller)
        new(controller).update
      rescue StandardError => e
        return if @logged

        @logged = true
        Lineside.config.logger.error(
          "Lineside sets no identity cookie, because config.lineside.user or config.lineside.token raised " \
          "#{e.class}: #{e.message}. Make both work in every controller, or set config.lineside.identity_cookie = false"
        )
      end
    end

    # @param controller [ActionController::Base]
    def initialize(controller)
      @controller = controller
      @request = controller.request
      @response = controller.response
    end

    # Sets or deletes the cookie if this response may.
    # @return [void]
    def update
      return unless may_change?

      user = RequestUser.of(@controller)
      return set(Page.new(@controller, user:)) if user && page?

      @request.cookie_jar.delete(name, path: Page.new(@controller, user:).root) if ended?(user)
    end

    # Sets the cookie.
    # @param page [Page] page of a user
    # @return [void]
    def set(page)
      seconds = [Lineside.config.token_expires_in, SECONDS_MAX].min
      @request.cookie_jar[name] = { value: page.identity(seconds), path: page.root, max_age: seconds.to_s,
                                    httponly: true, same_site: :lax, secure: @request.ssl? }
    end

    private

    def name = (@name ||= self.class.cookie)

    # Whether the browser shows the response, or an unchanged page from its cache.
    def page?
      return @response.media_type == "text/html" if @response.successful?

      @response.status == 304
    end

    def may_change? = app_controller? && (page? || may_end?) && cookie_allowed?

    # Whether this can be a sign-out: a request other than GET, or a redirect.
    def may_end? = cookie? && (!@request.get? || @response.redirect?)

    def cookie? = @request.cookies.key?(name)

    # Whether the cookie's user has signed out.
    def ended?(user)
      return Lineside.disconnected?(user) if user

      cookie? && (RequestUser.certain?(@controller) || Lineside.disconnected?)
    end

    # Whether the controller authenticates the app's users. Those of engines may not.
    def app_controller? = Lineside.config.secret? && @controller.is_a?(Page.parent_controller)

    # Whether a cookie can still be added, and reaches this browser only.
    def cookie_allowed? = !@response.committed? && !Caching.shared?(@response)
  end
end
