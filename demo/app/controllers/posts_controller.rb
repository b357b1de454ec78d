# frozen_string_literal: true

class PostsController < ApplicationController
  def create
    post = current_user.posts.create(body: params[:body])
    Lineside.publish("board", post.payload) if post.persisted?
    answer post
  end
end
