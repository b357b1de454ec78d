# frozen_string_literal: true

require_relative "page"

module Lineside
  # The identity cookie: tells the sidecar whose browser it is, so that a page needs no token for its user's channel.
  # `new WebSocket("/lineside")` is enough.
  #
  # The controllers of the app ({Page.parent_controller} and below) set it anew with each page that they answer to a
  # signed-in user, and the token endpoint with each token. It is deleted with the first page for nobody, and by the
  # answer to any request of another method than GET, such as a sign-out's, after which nobody is signed in. An answer
  # that shared caches may keep neither sets nor deletes it.
  class Identity
    # Its name, and its longest life in seconds; the sidecar knows both.
    COOKIE = "lineside"
    SECONDS_MAX = 3600

    # Where a page may be; the socket's paths are below it.
    PATH = "/"

    # Cache-Control by which a shared cache may keep an answer (RFC 9111 §3).
    SHARED = /\b(public|s-maxage)\b/
    KEPT = /max-age=[1-9]/
    PRIVATE = /\b(private|no-store)\b/

    class << self
      # Called after each action. What the app's rules raise here harms no answer: it is told once.
      # @param controller [ActionController::Base]
      # @return [void]
      def keep(controller)
        new(controller).keep
      rescue StandardError => e
        return if @told

        @told = true
        Lineside.config.logger.error(
          "Lineside sets no identity cookie where the app fails to say who is signed in: #{e.class}, #{e.message}. " \
          "Let config.lineside.user and token answer everywhere, or set config.lineside.identity_cookie = false"
        )
      end
    end

    # @param controller [ActionController::Base]
    def initialize(controller)
      @controller = controller
      @request = controller.request
      @response = controller.response
    end

    # Sets or deletes it where this answer is one to do so.
    # @return [void]
    def keep
      return unless (page? || leaving?) && ours? && open?

      user = Page.user_of(@controller)
      return @request.cookie_jar.delete(COOKIE, path: PATH) unless user

      renew(Page.new(@controller, user:)) if page?
    end

    # @param page [Page] a user's
    # @return [void]
    def renew(page)
      seconds = [Lineside.config.token_expires_in, SECONDS_MAX].min
      @request.cookie_jar[COOKIE] = { value: page.identity(seconds), path: PATH, max_age: seconds.to_s, httponly: true,
                                      same_site: :lax, secure: @request.ssl? }
    end

    private

    # What a browser shows; or goes on showing, since it has not changed.
    def page?
      return @response.media_type == "text/html" if @response.successful?

      @response.status == 304
    end

    def leaving? = !@request.get? && @request.cookies.key?(COOKIE)

    # Others, such as an engine's, may have no notion of the app's users.
    def ours? = Lineside.config.secret? && @controller.is_a?(Page.parent_controller)

    # Whether a cookie may be added, for this browser alone.
    def open? = !@response.committed? && !shared?

    def shared?
      header = @response.headers["Cache-Control"].to_s
      @response.cache_control[:public] || header.match?(SHARED) || (header.match?(KEPT) && !header.match?(PRIVATE))
    end
  end
end
