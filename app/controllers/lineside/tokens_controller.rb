# frozen_string_literal: true

module Lineside
  # `POST <path>/token`: a fresh token for a page that was rendered with `lineside_meta_tags`, under the app's own
  # authentication. Answers `{"token":…,"exp":…}`, exp in seconds since 1970; 401 to who is nobody. Renews the identity
  # cookie of a user.
  class TokensController < Page.parent_controller
    # An API's parent knows no sessions, so it has nothing to forge.
    protect_from_forgery with: :exception, prepend: true if respond_to?(:protect_from_forgery)

    def create
      page = Page.renewed(self, params[:page])
      response.headers["Cache-Control"] = "no-store"
      return head(:unauthorized) unless page

      Identity.new(self).renew(page) if Lineside.config.identity_cookie && page.user?
      token = page.token
      render json: { token:, exp: exp(token) }
    end

    private

    # Of a token that was signed a moment ago.
    def exp(token) = JSON.parse(token.split(".")[1].tr("-_", "+/").unpack1("m")).fetch("exp")
  end
end
