# frozen_string_literal: true

module ApplicationCable
  # Takes the user from the session, or from `?user=`.
  class Connection < ActionCable::Connection::Base
    identified_by :current_user, :tenant

    def connect
      self.tenant = request.script_name[/\d+/]
      self.current_user = user || reject_unauthorized_connection
      logger.add_tags "user-#{current_user}"
      raise "connect failed" if current_user == "broken"

      close(reason: "banned", reconnect: false) if current_user == "banned"
    end

    private

    def user = request.session[:user] || request.params[:user]
  end
end
