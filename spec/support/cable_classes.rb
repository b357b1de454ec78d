# frozen_string_literal: true

# Classes of Action Cable for an example, without an app.
module CableClasses
  def self.included(group)
    group.before(:all) do
      require "rails"
      require "action_cable"
      require "lineside/engine"
      require "lineside/cable"
    end
    group.after { forget_turbo }
  end

  # Loads a fresh stand-in for turbo-rails.
  def load_turbo(key: "the key of Turbo")
    forget_turbo
    load File.join(ROOT, "spec/apps/turbo/streams_channel.rb")
    Turbo.signed_stream_verifier_key = key
    Turbo::StreamsChannel
  end

  def forget_turbo = Object.const_defined?(:Turbo) && Object.send(:remove_const, :Turbo)

  # Class of connections with a name.
  def connection_class(parent = ActionCable::Connection::Base, name: "ApplicationCable::Connection", &body)
    stub_const(name, Class.new(parent, &body))
  end

  # Server of Action Cable whose connections are of the class.
  def server_of(connection)
    config = ActionCable::Server::Configuration.new
    config.connection_class = -> { connection }
    config.logger = Logger.new(nil)
    ActionCable::Server::Base.new(config:)
  end
end
