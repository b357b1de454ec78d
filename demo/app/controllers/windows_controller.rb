# frozen_string_literal: true

# Page with the whole demo: two users side by side, the chart and the switches.
class WindowsController < ApplicationController
  skip_before_action :require_user

  def show
    Seat::FIRST_USERS.each do |seat, user|
      seat = Seat.new(session, seat)
      seat.sign_in(User.named(user)) unless seat.used_before?
    end
  end
end
