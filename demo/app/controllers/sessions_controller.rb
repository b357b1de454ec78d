# frozen_string_literal: true

class SessionsController < ApplicationController
  skip_before_action :require_user

  def new; end

  def create
    user = User.named(params[:name])
    seat.sign_in(user) if user
    redirect_to board_path
  end

  def destroy
    seat.sign_out
    redirect_to new_session_path, status: :see_other
  end
end
