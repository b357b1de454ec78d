# frozen_string_literal: true

class BoardsController < ApplicationController
  # The page, and as JSON what is on it: fetched again when something was lost, and for a new token.
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
      url: Lineside.config.url,
      token: Lineside.token(current_user, channels: ["board"]),
      after: @cursor || "unknown",
      posts: Post.newest.map(&:payload),
      notices: current_user.notices.newest.map(&:payload)
    }
  end
end
