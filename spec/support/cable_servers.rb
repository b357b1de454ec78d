# frozen_string_literal: true

require "active_support"
require "active_support/rails"
require "active_support/core_ext/hash"
require "active_support/core_ext/string"
require "logger"

# Servers of Action Cable with `adapter: lineside`, as an app with that line in config/cable.yml has one.
module CableServers
  # Ends this process's app link, so that the next example opens its own.
  def self.included(group)
    group.after do
      next unless defined?(Lineside::AppLink)

      Lineside::AppLink.current.instance_variable_get(:@thread)&.kill&.join
      Lineside::AppLink.abandon
    end
  end

  # @return [ActionCable::Server::Base]
  def cable_server(**settings)
    require "action_cable"
    config = ActionCable::Server::Configuration.new
    config.cable = { adapter: "lineside", **settings }.with_indifferent_access
    config.logger = Logger.new(log)
    ActionCable::Server::Base.new(config:)
  end
end
