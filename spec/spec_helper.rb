# frozen_string_literal: true

require "lineside"
require "timeout"

ROOT = File.expand_path("..", __dir__)

Dir[File.join(__dir__, "support/*.rb")].each { |file| require file }

# Maximum duration of an example, in seconds.
EXAMPLE_S_MAX = 240

# An example takes longer than EXAMPLE_S_MAX.
ExampleTimeout = Class.new(StandardError)

RSpec.configure do |config|
  config.disable_monkey_patching!
  config.expect_with(:rspec) { |expectations| expectations.max_formatted_output_length = 2000 }
  config.mock_with(:rspec) { |mocks| mocks.verify_partial_doubles = true }
  config.order = :random
  Kernel.srand config.seed

  config.include Eventually
  config.include Settings
  config.include Processes
  config.include ShopApp
  config.include GeneratedApps, :generated_app
  config.include Sidecars, :sidecar
  config.include Apps, :app
  config.include CableClasses, :cable_classes
  config.include Proxies, :proxy
  config.include Databases, :databases
  config.include CableServers, :cable

  # Ends an example that hangs, and reports where it did.
  config.around { |example| Timeout.timeout(EXAMPLE_S_MAX, ExampleTimeout) { example.run } }

  # Resets the settings and the environment before each example.
  config.around { |example| with_default_settings { example.run } }
end
