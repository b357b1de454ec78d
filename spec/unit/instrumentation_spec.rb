# frozen_string_literal: true

require "active_support"
require "active_support/notifications"
require "tmpdir"

RSpec.describe Lineside::Instrumentation do
  before do
    use(Lineside.config) { |config| config.link = "unix:#{Dir.mktmpdir}/no-sidecar.sock" }
    @events = []
    events = @events
    @subscriber = ActiveSupport::Notifications.subscribe(/\.lineside\z/) { |name, *, event| events << [name, event] }
  end

  after { ActiveSupport::Notifications.unsubscribe(@subscriber) }

  def events(name) = @events.filter_map { |event, payload| payload if event == name }

  it "emits an event for every publication, by every method" do
    Lineside.publish("orders", 1)
    Lineside.publish_to(7, "\u00E9\n", once: "x")
    Lineside.publish_all([["orders", 3], ["news", { a: [] }]])
    expect { Lineside.publish!("orders", 5, timeout: 0) }.to raise_error(Lineside::Unconfirmed)
    expect { Lineside.publish("orders", "\xFF") }.to raise_error(ArgumentError)
    expect(events("publish.lineside")).to match(
      [{ channels: ["orders"], once: nil, deferred: false, bytes: 1, accepted: true },
       { channels: ["user:7"], once: "x", deferred: false, bytes: 6, accepted: true },
       { channels: %w[orders news], once: nil, deferred: false, bytes: 9, accepted: true },
       include(channels: ["orders"], exception: include("Lineside::Unconfirmed")),
       include(channels: ["orders"], exception: include("ArgumentError"))]
    )
  end

  it "emits one event with count and remedy for dropped publications" do
    eventually("the first attempt") { Lineside.cursor || Lineside.publisher.status[:last_error] }
    use(Lineside.config) { |config| config.spool_bytes_max = 10 }
    3.times { expect(Lineside.publish_all([["orders", 1], ["orders", 2]])).to be(false) }
    dropped = eventually("the event") { events("dropped.lineside").first }
    expect(dropped).to include(not_accepted: 6, dropped_aged: 0, refused: 0, remedy: /no-sidecar.*bundle exec lineside/)
    expect(events("publish.lineside").map { |event| event[:accepted] }).to eq([false] * 3)
    expect(log.string).to match(/6 were not accepted/)
  end

  it "counts each aged publication, and a revocation as one" do
    use(Lineside.config) { |config| config.spool_seconds_max = 1 }
    Lineside.publish_all([["orders", 1], ["orders", 2], ["orders", 3]])
    Lineside.publish("orders", 4)
    Lineside.disconnect(7)
    dropped = ->(loss) { events("dropped.lineside").sum { |event| event[loss] } }
    eventually("the events") { dropped.call(:dropped_aged) == 5 }
    expect(%i[not_accepted refused].map(&dropped)).to eq([0, 0])
    eventually("the line in #{log.string}") { log.string.match?(/\d exceeded spool_seconds_max in the spool/) }
  end

  it "emits one event with a remedy if the link is down" do
    Lineside.publish("orders", 1)
    down = eventually("the event") { events("link.lineside").first }
    expect(down).to match(state: :down, remedy: /no-sidecar\.sock.*bundle exec lineside/)
    eventually("the line") { log.string.include?("link is down") }
    expect(log.string.scan("link is down").size).to eq(1)
  end

  it "builds no event without a subscriber" do
    ActiveSupport::Notifications.unsubscribe(@subscriber)
    expect(described_class).not_to receive(:measure)
    Lineside.publish("orders", 1)
    expect(@events).to eq([])
  end

  it "loads neither ActiveSupport nor ActiveRecord" do
    output = ruby(<<~RUBY, env: { "LINESIDE_LINK" => "unix:/nowhere/lineside.sock" })
      require "lineside"
      Lineside.config.logger = Logger.new(IO::NULL)
      Lineside.publish("orders", 1)
      print [defined?(ActiveSupport), defined?(ActiveRecord)].inspect
    RUBY
    expect(output).to eq("[nil, nil]")
  end
end
