# frozen_string_literal: true

module ApplicationCable
  # Identified by the sign-in of a seat, so that its sign-out closes the connection.
  class Connection < ActionCable::Connection::Base
    identified_by :current_user, :current_session

    def connect
      seat = Seat.new(request.session, request.params[:seat])
      self.current_user = seat.user || reject_unauthorized_connection
      self.current_session = seat.sign_in_id
    end
  end
end
