# frozen_string_literal: true

# Responses of all kinds, of which some may set the identity cookie.
class AnswersController < ApplicationController
  PUBLIC = { "shared" => "max-age=60", "cdn" => "no-cache, s-maxage=60" }.freeze

  def show
    case params[:kind]
    when "public" then expires_in(60, public: true)
    when "shared", "cdn" then response.headers["Cache-Control"] = PUBLIC.fetch(params[:kind])
    when "private" then expires_in(60)
    when "unchanged" then return head(:not_modified)
    when "json" then return render(json: {})
    when "redirect" then return redirect_to("/page")
    end
    render html: "an answer"
  end

  # Pages that Rails compares with that in the browser's cache. Their data never changes.
  def tagged = stale?(etag: "data") && render(html: "an answer")

  def dated = stale?(last_modified: Time.at(0)) && render(html: "an answer")
end
