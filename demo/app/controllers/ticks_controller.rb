# frozen_string_literal: true

class TicksController < ApplicationController
  skip_before_action :require_user

  def create
    tick = Tick.of(params.require(:key))
    tick.publish
    render json: { id: tick.id }, status: :created
  end
end
