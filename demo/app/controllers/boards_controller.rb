# frozen_string_literal: true

class BoardsController < ApplicationController
  # Renders the page with Turbo, the page with Lineside's module, or the data of the latter as JSON, which that page
  # refetches after `lost`.
  def show
    return render :turbo if params[:page]

    @state = state
    respond_to do |format|
      format.html
      format.json { render json: @state }
    end
  end

  private

  def state
    {
      posts: Post.newest.map(&:content),
      notices: current_user.notices.newest.map(&:content),
      ticks: Tick.newest_ids
    }
  end
end
