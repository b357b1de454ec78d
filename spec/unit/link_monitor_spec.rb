# frozen_string_literal: true

require "active_support"
require "active_support/notifications"

RSpec.describe Lineside::LinkMonitor do
  it "reports each drop once while other threads publish" do
    counts = []
    subscriber = ActiveSupport::Notifications.subscribe("dropped.lineside") { |*, loss| counts << loss[:not_accepted] }
    monitor = described_class.new(Lineside.config)
    dropped = 0
    # Ruby can switch threads at each method call.
    others = TracePoint.new(:call) do |call|
      next if !call.self.equal?(monitor) || call.method_id == :not_accepted

      monitor.not_accepted(1, "the spool is full")
      dropped += 1
    end
    others.enable { 3.times { monitor.close } }
    monitor.close
    expect([counts.size, counts.sum]).to eq([4, dropped])
    expect(log.string.scan("not accepted (the spool is full)").size).to eq(4)
  ensure
    ActiveSupport::Notifications.unsubscribe(subscriber)
  end

  it "is silent while the sidecar boots" do
    require "lineside/sidecar"
    status = { linked: false, last_error: "nobody answers", publications_aged: 0, publications_refused: 0 }
    monitor = described_class.new(Lineside.config)
    Lineside::Sidecar.booting_until = clock + 60
    monitor.send(:check, status)
    expect(log.string).to eq("")
    Lineside::Sidecar.booting_until = clock
    2.times { monitor.send(:check, status) }
    expect(log.string.scan("link is down: nobody answers").size).to eq(1)
  ensure
    Lineside::Sidecar.booting_until = nil
  end

  it "reports a link that is down in an app with a class Sidecar" do
    hide_const("Lineside::Sidecar")
    stub_const("Sidecar", Class.new)
    monitor = described_class.new(Lineside.config)
    monitor.send(:check, { linked: false, last_error: "nobody answers", publications_aged: 0, publications_refused: 0 })
    expect(log.string).to include("link is down: nobody answers")
  end
end
