# frozen_string_literal: true

class ApplicationController < ActionController::Base
  before_action :require_user
  helper_method :current_user, :seat

  private

  def seat
    @seat ||= Seat.new(session, params[:seat])
  end

  def current_user = seat.user

  # Adds the seat to every path, including the token endpoint's, so that requests for a fresh token name it. Paths of a
  # page with Turbo lead to that page.
  def default_url_options = params[:seat] ? params.permit(:seat, :page).to_h.symbolize_keys : {}

  def require_user
    return if current_user

    respond_to do |format|
      format.html { redirect_to new_session_path }
      format.json { head :unauthorized }
    end
  end

  # Answers a form: JSON for the page's script, empty fields for Turbo, a redirect for a form sent without either.
  def answer(message)
    respond_to do |format|
      format.turbo_stream { render :create, status: message.persisted? ? :created : 422, locals: { message: } }
      format.html { redirect_to board_path }
      format.json do
        next head(:created) if message.persisted?

        render plain: message.errors.full_messages.to_sentence, status: 422
      end
    end
  end
end
