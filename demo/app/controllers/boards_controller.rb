# frozen_string_literal: true

class BoardsController < ApplicationController
  # Renders the page, or its data as JSON, which the page refetches after `lost`.
  def show
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
