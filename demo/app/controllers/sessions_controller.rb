# frozen_string_literal: true

class SessionsController < ApplicationController
  skip_before_action :require_user

  def new; end

  def create
    user = User.named(params[:name])
    reset_session
    session[:user_id] = user.id if user
    redirect_to root_path
  end

  def destroy
    reset_session
    redirect_to new_session_path, status: :see_other
  end
end
