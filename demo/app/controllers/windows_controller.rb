# frozen_string_literal: true

# Page with the whole demo: two users side by side, the chart and the switches.
class WindowsController < ApplicationController
  skip_before_action :require_user

  PROMISES = {
    "app" => "nothing lost",
    "sidecar" => "nothing lost",
    "crash" => "loss reported and refetched",
    "offline" => "nothing lost"
  }.freeze

  # Promises to Turbo's stock client, which keeps no cursor.
  STOCK_PROMISES = {
    **PROMISES,
    "sidecar" => "nothing lost, can come twice",
    "crash" => "loss not reported",
    "offline" => "nothing lost, can come twice"
  }.freeze

  def show
    @promises = params[:page] == "stock" ? STOCK_PROMISES : PROMISES
    Seat::FIRST_USERS.each do |seat, user|
      seat = Seat.new(session, seat)
      seat.sign_in(User.named(user)) unless seat.used_before?
    end
  end
end
