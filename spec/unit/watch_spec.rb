# frozen_string_literal: true

require "active_support"
require "active_support/notifications"

RSpec.describe Lineside::Watch do
  it "tells of everything that was not accepted exactly once, whoever publishes while it tells" do
    told = []
    subscriber = ActiveSupport::Notifications.subscribe("dropped.lineside") { |*, loss| told << loss[:not_accepted] }
    watch = described_class.new(Lineside.config)
    dropped = 0
    # Where a method is called, Ruby may let another thread run.
    others = TracePoint.new(:call) do |call|
      next if !call.self.equal?(watch) || call.method_id == :not_accepted

      watch.not_accepted(1, "the spool is full")
      dropped += 1
    end
    others.enable { 3.times { watch.close } }
    watch.close
    expect([told.size, told.sum]).to eq([4, dropped])
    expect(log.string.scan("not accepted, the spool is full").size).to eq(4)
  ensure
    ActiveSupport::Notifications.unsubscribe(subscriber)
  end
end
