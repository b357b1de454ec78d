# frozen_string_literal: true

require "puma/plugin"
require "lineside/sidecar"

# `plugin :lineside` in config/puma.rb: runs the sidecar as a child of Puma's master. The sidecar keeps running through
# phased and hot restarts, and is stopped gracefully when Puma stops.
Puma::Plugin.create do
  def start(launcher)
    sidecar = Lineside::Sidecar.new { |line| log_of(launcher).log("! #{line}") }
    sidecar.start
    in_background { sidecar.supervise }
    before_restart(launcher.events) { sidecar.leave_running }
  end

  private

  # In Puma 5, the events object is the logger.
  def log_of(launcher) = launcher.respond_to?(:log_writer) ? launcher.log_writer : launcher.events

  # Named on_restart before Puma 7.
  def before_restart(events, &)
    events.respond_to?(:before_restart) ? events.before_restart(&) : events.on_restart(&)
  end
end
