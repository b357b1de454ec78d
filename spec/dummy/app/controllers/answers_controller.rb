# frozen_string_literal: true

# Responses of all kinds, of which some may set the identity cookie.
class AnswersController < ApplicationController
  # Header fields that caches read. Those of CDNs and nginx come beside a Cache-Control for the browser alone.
  FIELDS = { "shared" => %w[Cache-Control max-age=60], "cdn" => ["Cache-Control", "no-cache, s-maxage=60"],
             "fastly" => %w[Surrogate-Control max-age=60], "cloudflare" => %w[Cloudflare-CDN-Cache-Control max-age=60],
             "nginx" => %w[X-Accel-Expires 60], "uncached" => %w[CDN-Cache-Control no-store] }.freeze

  def show
    case params[:kind]
    when "public" then expires_in(60, public: true)
    when *FIELDS.keys then response.headers.store(*FIELDS.fetch(params[:kind]))
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
