# frozen_string_literal: true

require "active_support"
require "active_support/test_case"
require "action_cable"
require "action_cable/test_helper"
require "rspec/rails/matchers/action_cable"

RSpec.describe "adapter: lineside in the environment test", :cable do
  include RSpec::Rails::Matchers

  # Rails' helper, in a test of an app with this server.
  let(:test) do
    Class.new(ActiveSupport::TestCase) { include ActionCable::TestHelper }.new("test").tap(&:before_setup)
  end

  let(:server) { cable_server }

  before do
    use(Lineside::Configuration.new) { |config| config.app_environment = "test" }
    allow(ActionCable).to receive(:server).and_return(server)
  end

  it "makes assert_broadcasts work" do
    test.assert_broadcasts("chat", 1) { server.broadcast("chat", { text: "hello" }) }
    test.assert_broadcast_on("chat", { text: "hello" })
    expect { test.assert_no_broadcasts("chat") }.to raise_error(Minitest::Assertion)
    test.after_teardown
  end

  it "makes have_broadcasted_to work, which needs Rails' test adapter" do
    expect { server.broadcast("chat", { text: "hello" }) }.to have_broadcasted_to("chat").with(text: "hello").once
    expect { server.broadcast("chat", 1) }.not_to have_broadcasted_to("other")
  end

  it "raises what it raises elsewhere" do
    expect { server.broadcast("chat", "raw", coder: nil) }.to raise_error(ArgumentError, /not JSON/)
    expect { server.broadcast("a\n", 1) }.to raise_error(ArgumentError)
    expect { server.broadcast("chat", "x" * 70_000) }.to raise_error(Lineside::PayloadTooLarge)
  end

  it "delivers inside the process, and nothing leaves it" do
    received = Queue.new
    server.pubsub.subscribe("chat", ->(message) { received << message }, -> { received << :confirmed })
    expect(received.pop).to eq :confirmed
    server.broadcast("chat", 1)
    expect(received.pop).to eq "1"
    expect(Lineside::Native.status).to include(linked: false, accepted: 0)
  end

  it "sends with config.lineside.record = false" do
    Lineside.configure { |config| config.record = false }
    expect(server.pubsub).to be_an_instance_of(ActionCable::SubscriptionAdapter::Lineside)
    expect(server.broadcast("chat", 1)).to be true
    expect(Lineside::Native.status).to include(accepted: 1)
  end
end
