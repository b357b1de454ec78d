# frozen_string_literal: true

# Pages with Turbo streams, for tests in a browser. The file in ROOM_FILE is the database of posts, a line each.
class RoomsController < ApplicationController
  layout false

  # Time after which the name of the stream expires, in seconds.
  EXPIRY_SECONDS = 3

  helper_method :expiring_name

  def show
    @user = current_user
    @posts = File.readlines(ENV.fetch("ROOM_FILE"), chomp: true)
  end

  private

  def expiring_name = Turbo.signed_stream_verifier.generate(params[:name], expires_in: EXPIRY_SECONDS)
end
