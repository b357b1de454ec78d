# frozen_string_literal: true

class ApplicationController < ActionController::Base
  before_action :require_user
  helper_method :current_user, :seat

  private

  def seat
    @seat ||= Seat.new(session, params[:seat])
  end

  def current_user = seat.user

  # Also the address at which a page gets fresh tokens then says whose page it is.
  def default_url_options = params[:seat] ? { seat: params[:seat] } : {}

  def require_user
    return if current_user

    respond_to do |format|
      format.html { redirect_to new_session_path }
      format.json { head :unauthorized }
    end
  end

  # To a form that was sent by the page's script, or by the browser itself.
  def answer(message)
    respond_to do |format|
      format.html { redirect_to board_path }
      format.json do
        next head(:created) if message.persisted?

        render plain: message.errors.full_messages.to_sentence, status: 422
      end
    end
  end
end
