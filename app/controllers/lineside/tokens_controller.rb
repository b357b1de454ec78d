# frozen_string_literal: true

module Lineside
  # `POST <path>/token`: issues a fresh token for a page rendered with `lineside_meta_tags`. Answers
  # `{"token":…,"exp":…}` with `exp` in seconds since 1970, or 401 if nobody is signed in. Renews the identity cookie of
  # a user.
  #
  # Inherits the app's callbacks for their effects, such as setting `Current.session`. Only the user that they leave
  # decides ({RequestUser}): a callback that redirects, renders or raises, such as an authorization check, is ignored.
  #
  # Never writes the session, because pages ask by themselves: a late response would replace the session that a sign-in
  # or sign-out in another tab has written meanwhile, and no session would expire while a page is open.
  class TokensController < Page.parent_controller
    # Parameter with the page's permit.
    PERMIT = "lineside_permit"

    # Statuses of callbacks after which the page asks again, beside 5xx.
    LATER = [408, 429].freeze

    # A page must get a token after a sign-in in another tab has replaced the CSRF token. No other site can read the
    # response, and the request changes nothing. A parent controller of an API has no forgery protection.
    skip_forgery_protection(raise: false) if respond_to?(:skip_forgery_protection)

    def create
      page = renewed_page or return unauthorized
      Identity.new(self).set(page) if Lineside.config.identity_cookie && page.user?
      token = page.token
      answer(200, JSON.generate(token:, exp: exp(token)))
    end

    private

    # Answers 401 also if a handler of the app redirects a signed-out user.
    def process_action(*)
      super
      unauthorized if response.redirect?
    ensure
      keep_session
    end

    def run_callbacks(kind, *)
      return super unless kind == :process_action

      begin
        super
      rescue StandardError
        # Raised before the action: an error of the authentication itself, unless there is a user.
        raise unless @answered || renewed_page
      end
      answer_despite_callbacks unless @answered
    end

    # The permit is in the body, because URLs are logged.
    def renewed_page = Page.renewed(self, request.request_parameters[PERMIT])

    def answer_despite_callbacks
      return if performed? && (LATER.include?(status) || status >= 500)

      create
    end

    def unauthorized = answer(401)

    # Leaves the stored session as it is, also if callbacks wrote to it or asked for another id.
    def keep_session
      request.session_options[:skip] = true
      request.session_options[:renew] = false
    end

    # Replaces what callbacks rendered.
    def answer(status, body = "")
      @answered = true
      response.headers.delete("Location")
      response.headers["Cache-Control"] = "no-store"
      self.status = status
      self.content_type = "application/json"
      self.response_body = body
    end

    # Expiry of a token that was just signed.
    def exp(token) = JSON.parse(token.split(".")[1].tr("-_", "+/").unpack1("m")).fetch("exp")
  end
end
