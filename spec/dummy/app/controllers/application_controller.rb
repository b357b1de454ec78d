# frozen_string_literal: true

class ApplicationController < ActionController::Base
  private

  def current_user = session[:user]

  # As an app in several languages has it.
  def default_url_options = params.permit(:locale).to_h.symbolize_keys
end
