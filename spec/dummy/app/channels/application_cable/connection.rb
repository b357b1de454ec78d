# frozen_string_literal: true

module ApplicationCable
  # Takes the user from the session, or from `?user=`.
  class Connection < ActionCable::Connection::Base
    identified_by :current_user, :tenant

    def connect
      note("connect")
      self.tenant = request.script_name[/\d+/]
      self.current_user = user || reject_unauthorized_connection
      logger.add_tags "user-#{current_user}"
      raise "connect failed" if current_user == "broken"

      close(reason: "banned", reconnect: false) if current_user == "banned"
    end

    def disconnect = note("disconnect")

    # Appends a line about this user to a file.
    def note(event)
      file = ENV.fetch("CABLE_EVENTS", nil)
      File.write(file, "#{event} #{current_user}\n", mode: "a") if file
    end

    private

    def user = request.session[:user] || request.params[:user]
  end
end
