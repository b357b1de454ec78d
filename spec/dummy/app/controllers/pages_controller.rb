# frozen_string_literal: true

class PagesController < ApplicationController
  # Stands for a table: this process is the only one that writes it.
  BOARD = [] # rubocop:disable Style/MutableConstant -- it is written

  # Who the page of `?of=` is for, and what it opens beside what the app's rule opens.
  PAGES = { nil => {}, "board" => { channels: ["board"] }, "rooms" => { channels: ["board"], allow: ["room:*"] },
            "nobody" => { user: nil }, "other" => { user: "another" } }.freeze

  # Reads the board, as a query does: before the view and, last, the layout are rendered.
  def show
    @posts = BOARD.dup
    @page = PAGES.fetch(params[:of])
  end

  def sign_in
    reset_session
    session.update(user: params[:user], number: params[:session].presence)
    head :no_content
  end

  def sign_out
    reset_session
    head :no_content
  end
end
