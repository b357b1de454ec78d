# frozen_string_literal: true

class NoticesController < ApplicationController
  def create
    user = User.named(params[:to]) || current_user
    notice = user.notices.create(author: current_user, body: params[:body])
    Lineside.publish_to(user, notice.payload) if notice.persisted?
    answer notice
  end
end
