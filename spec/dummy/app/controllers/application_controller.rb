# frozen_string_literal: true

class ApplicationController < ActionController::Base
  private

  def current_user = session[:user]

  # Adds a locale to all URLs, as apps in several languages do.
  def default_url_options = params.permit(:locale).to_h.symbolize_keys
end
