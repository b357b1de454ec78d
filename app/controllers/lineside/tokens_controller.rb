# frozen_string_literal: true

module Lineside
  # `POST <path>/token`: issues a fresh token for a page rendered with `lineside_meta_tags`, under the app's own
  # authentication. Answers `{"token":…,"exp":…}` with `exp` in seconds since 1970, or 401 if nobody is signed in.
  # Renews the identity cookie of a user.
  class TokensController < Page.parent_controller
    # A parent controller of an API has no sessions, and so no forgery protection.
    protect_from_forgery with: :exception, prepend: true if respond_to?(:protect_from_forgery)

    def create
      page = Page.renewed(self, params[:page])
      response.headers["Cache-Control"] = "no-store"
      return head(:unauthorized) unless page

      Identity.new(self).set(page) if Lineside.config.identity_cookie && page.user?
      token = page.token
      render json: { token:, exp: exp(token) }
    end

    private

    # Expiry of a token that was just signed.
    def exp(token) = JSON.parse(token.split(".")[1].tr("-_", "+/").unpack1("m")).fetch("exp")
  end
end
