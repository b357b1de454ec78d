# frozen_string_literal: true

# What usually happens to a server by night, at the press of a button.
class SwitchesController < ApplicationController
  skip_before_action :require_user

  # Puma's master starts itself anew in place (USR2), as a deploy does; the plugin starts a sidecar that has ended.
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
    render plain: "The sidecar cannot be reached: #{e.message}", status: :service_unavailable
  end
end
