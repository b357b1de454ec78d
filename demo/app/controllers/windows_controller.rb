# frozen_string_literal: true

# The whole demo in one window: two people side by side, the chart and the switches.
class WindowsController < ApplicationController
  skip_before_action :require_user

  def show
    Seat::FIRST_USERS.each do |seat, user|
      seat = Seat.new(session, seat)
      seat.sign_in(User.named(user)) unless seat.taken_before?
    end
  end
end
