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
    on(launcher.events, :before_restart, :on_restart) { sidecar.leave_running }
    # The master of a cluster waits for the end of all its children, so it would never come to its at_exit. A single
    # process is told of its stop before its last requests, and stops the sidecar at exit.
    on(launcher.events, :after_stopped, :on_stopped) { sidecar.stop } if launcher.options[:workers].to_i.positive?
  end

  private

  # In Puma 5, the events object is the logger.
  def log_of(launcher) = launcher.respond_to?(:log_writer) ? launcher.log_writer : launcher.events

  # Registers a hook by its name in Puma 7 and later, or by the earlier one.
  def on(events, name, earlier, &) = events.public_send(events.respond_to?(name) ? name : earlier, &)
end
