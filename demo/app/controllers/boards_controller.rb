# frozen_string_literal: true

class BoardsController < ApplicationController
  # The page, and as JSON what is on it: fetched again when something was lost.
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
      posts: Post.newest.map(&:payload),
      notices: current_user.notices.newest.map(&:payload),
      ticks: Tick.newest_ids
    }
  end
end
