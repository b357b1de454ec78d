# frozen_string_literal: true

# Restarts the app, or stops the sidecar, at the press of a button.
class SwitchesController < ApplicationController
  skip_before_action :require_user

  # USR2 makes Puma's master restart in place, as a deploy does. Puma's plugin restarts a sidecar that has ended.
  SWITCHES = {
    "app" => -> { Process.kill("USR2", Process.ppid) },
    "sidecar" => -> { Process.kill("TERM", Sidecar.pid) },
    "crash" => -> { Process.kill("KILL", Sidecar.pid) }
  }.freeze

  def create
    SWITCHES.fetch(params.require(:switch)).call
    head :no_content
  rescue SystemCallError => e
    render plain: "no process to signal: #{e.message}", status: :service_unavailable
  end
end
