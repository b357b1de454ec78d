# frozen_string_literal: true

require "active_support"
require "active_support/notifications"
require "tmpdir"

RSpec.describe Lineside::Instrumentation do
  before do
    use(Lineside.config) { |config| config.link = "unix:#{Dir.mktmpdir}/no-sidecar.sock" }
    @heard = []
    heard = @heard
    @subscriber = ActiveSupport::Notifications.subscribe(/\.lineside\z/) { |name, *, event| heard << [name, event] }
  end

  after { ActiveSupport::Notifications.unsubscribe(@subscriber) }

  def heard(name) = @heard.filter_map { |event, payload| payload if event == name }

  it "tells of everything that is published, by whichever verb" do
    Lineside.publish("orders", 1)
    Lineside.publish_to(7, "\u00E9\n", once: "x")
    Lineside.publish_all([["orders", 3], ["news", { a: [] }]])
    expect { Lineside.publish!("orders", 5, timeout: 0) }.to raise_error(Lineside::Unconfirmed)
    expect { Lineside.publish("orders", "\xFF") }.to raise_error(ArgumentError)
    expect(heard("publish.lineside")).to match(
      [{ channels: ["orders"], once: nil, deferred: false, bytes: 1, accepted: true },
       { channels: ["user:7"], once: "x", deferred: false, bytes: 6, accepted: true },
       { channels: %w[orders news], once: nil, deferred: false, bytes: 9, accepted: true },
       include(channels: ["orders"], exception: include("Lineside::Unconfirmed")),
       include(channels: ["orders"], exception: include("ArgumentError"))]
    )
  end

  it "counts publications that were dropped, and tells the remedy of that time, also to an idle process" do
    eventually("the first attempt") { Lineside.cursor || Lineside.publisher.status[:last_error] }
    use(Lineside.config) { |config| config.spool_bytes_max = 10 }
    3.times { expect(Lineside.publish_all([["orders", 1], ["orders", 2]])).to be(false) }
    dropped = eventually("the event") { heard("dropped.lineside").first }
    expect(dropped).to include(not_accepted: 6, dropped_aged: 0, refused: 0, remedy: /no-sidecar.*bundle exec lineside/)
    expect(heard("publish.lineside").map { |event| event[:accepted] }).to eq([false] * 3)
    expect(log.string).to match(/6 were not accepted/)
  end

  it "counts each publication of a hand-over that grew too old, and a sign-out as one" do
    use(Lineside.config) { |config| config.spool_seconds_max = 1 }
    Lineside.publish_all([["orders", 1], ["orders", 2], ["orders", 3]])
    Lineside.publish("orders", 4)
    Lineside.disconnect(7)
    dropped = ->(loss) { heard("dropped.lineside").sum { |event| event[loss] } }
    eventually("the events") { dropped.call(:dropped_aged) == 5 }
    expect(%i[not_accepted refused].map(&dropped)).to eq([0, 0])
    expect(log.string).to match(/\d grew too old in the spool/)
  end

  it "tells once that the link is down, and what to do" do
    Lineside.publish("orders", 1)
    down = eventually("the event") { heard("link.lineside").first }
    expect(down).to match(state: :down, remedy: /no-sidecar\.sock.*bundle exec lineside/)
    expect(log.string.scan("link is down").size).to eq(1)
  end

  it "builds nothing when nobody listens" do
    ActiveSupport::Notifications.unsubscribe(@subscriber)
    expect(described_class).not_to receive(:measure)
    Lineside.publish("orders", 1)
    expect(@heard).to eq([])
  end

  it "loads nothing by itself" do
    output = ruby(<<~RUBY, env: { "LINESIDE_LINK" => "unix:/nowhere/lineside.sock" })
      require "lineside"
      Lineside.publish("orders", 1)
      print [defined?(ActiveSupport), defined?(ActiveRecord)].inspect
      $stdout.flush
      exit!(true)
    RUBY
    expect(output).to eq("[nil, nil]")
  end
end
