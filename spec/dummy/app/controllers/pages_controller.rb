# frozen_string_literal: true

class PagesController < ApplicationController
  # In place of a database table. Written by this process only.
  BOARD = [] # rubocop:disable Style/MutableConstant -- it is written

  # User and grants of the page for each value of `?of=`.
  PAGES = { nil => {}, "board" => { channels: ["board"] }, "rooms" => { channels: ["board"], allow: ["room:*"] },
            "nobody" => { user: nil }, "other" => { user: "another" } }.freeze

  # Reads the board before the view and the layout are rendered, as a query does.
  def show
    @posts = BOARD.dup
    @page = PAGES.fetch(params[:of])
  end

  # Page with scripts, for a browser.
  def board
    @page = { channels: ["board"] }
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
