# frozen_string_literal: true

require "puma/plugin"
require "lineside/sidecar"

# `plugin :lineside` in config/puma.rb: the sidecar lives with Puma's master. Phased restarts do not touch it, hot
# restarts take it over, and a stop of Puma is a planned stop of the sidecar.
Puma::Plugin.create do
  def start(launcher)
    sidecar = Lineside::Sidecar.new { |line| log_of(launcher).log("! #{line}") }
    sidecar.start
    in_background { sidecar.watch }
    before_restart(launcher.events) { sidecar.pass_on }
  end

  private

  # Puma 5 logs through its events.
  def log_of(launcher) = launcher.respond_to?(:log_writer) ? launcher.log_writer : launcher.events

  # Until Puma 6 by another name.
  def before_restart(events, &)
    events.respond_to?(:before_restart) ? events.before_restart(&) : events.on_restart(&)
  end
end
