# frozen_string_literal: true

# Restarts the app, or stops the sidecar, at the press of a button.
class SwitchesController < ApplicationController
  skip_before_action :require_user

  # Signal and process of each switch. USR2 makes Puma's master restart in place, as a deploy does. Puma's plugin
  # restarts a sidecar that has ended.
  SWITCHES = {
    "app" => ["USR2", -> { Process.ppid }],
    "sidecar" => ["TERM", -> { Sidecar.pid }],
    "crash" => ["KILL", -> { Sidecar.pid }]
  }.freeze

  def create
    signal, pid = SWITCHES.fetch(params.require(:switch))
    Process.kill(signal, pid.call)
    head :no_content
  rescue SystemCallError => e
    render plain: "No process to signal: #{e.message}", status: :service_unavailable
  end
end
