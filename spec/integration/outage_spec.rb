# frozen_string_literal: true

require "active_support"
require "active_support/notifications"

RSpec.describe "An unavailable sidecar", :sidecar do
  def fill
    use(Lineside.config) { |config| config.spool_bytes_max = 20_000 }
    Array.new(500) { |number| Lineside.publish("orders", [number, "x" * 100]) }
  end

  it "not started: gets the accepted publications when it starts" do
    answers = fill
    accepted = answers.count(true)
    expect(answers).to eq(([true] * accepted) + ([false] * (500 - accepted)))
    expect(accepted).to be_between(100, 200)
    expect(Lineside.flush(timeout: 0.05)).to be(false)
    start_sidecar
    expect(Lineside.flush(timeout: 10)).to be(true)
    expect(Lineside.publisher.status).to include(acked: accepted, dropped_full: 500 - accepted)
    browser = browse(channels: ["orders"], after: "#{Lineside.cursor[/\A[^.]+/]}.0")
    Lineside.publish("orders", "last")
    expect(browser.data_until("last").map { |data| data[0] }).to eq([*0...accepted, "l"])
  end

  it "stopped: publish never blocks, and everything accepted arrives once" do
    start_sidecar
    use(Lineside.config) { |config| config.spool_bytes_max = 300_000 }
    browser = browse(channels: ["orders"])
    Lineside.publish!("orders", "first")
    sidecar.signal(:STOP)
    accepted = Array.new(2000) { |number| number if Lineside.publish("orders", [number, "x" * 500]) }.compact
    expect(accepted.size).to be_between(500, 600)
    expect { Lineside.publish!("orders", "x" * 1000) }.to raise_error(Lineside::NotAccepted, /spool is full/)
    expect(Lineside.cursor).to be_a(String)
    sidecar.signal(:CONT)
    expect(Lineside.flush(timeout: 20)).to be(true)
    Lineside.publish("orders", "last")
    expect(browser.data_until("last")[1..-2].map(&:first)).to eq(accepted)
  end

  it "killed and restarted: gets unacked publications, marked as resent" do
    start_sidecar
    epoch = Lineside.publish!("orders", "acked").cursor[/\A[^.]+/]
    sidecar.signal(:STOP)
    50.times { |number| Lineside.publish("orders", number) }
    sidecar.signal(:KILL)
    sidecar.wait
    50.times { |number| Lineside.publish("orders", 50 + number) }
    start_sidecar
    expect(Lineside.flush(timeout: 20)).to be(true)
    expect(Lineside.cursor).not_to start_with(epoch)
    browser = browse(channels: ["orders"], after: "#{Lineside.cursor[/\A[^.]+/]}.0")
    Lineside.publish("orders", "last")
    messages = browser.messages_until("last")
    expect(messages.map { |message| message["data"] }).to eq([*0...100, "last"])
    resent = messages.select { |message| message["resent"] }.map { |message| message["data"] }
    expect(resent).to eq((0...resent.size).to_a).and(satisfy { |numbers| numbers.size <= 50 })
  end

  it "in planned restarts: threads lose no publication and no order" do
    start_sidecar
    epoch = Lineside.publish!("orders", "first").cursor[/\A[^.]+/]
    count = 0
    threads = Array.new(4) do |thread|
      Thread.new do
        200.times do |number|
          # Every second publication waits, so that the threads still run during the restarts.
          verb, wait = number.even? ? [:publish!, { timeout: 20 }] : [:publish, {}]
          Lineside.public_send(verb, "orders", [thread, number], **wait)
          count += 1
        end
      end
    end
    [150, 350, 550].each do |most|
      eventually("some of them") { count > most }
      sidecar.signal(:TERM)
      sidecar.wait
      start_sidecar
    end
    threads.each(&:join)
    browser = browse(channels: ["orders"], after: "#{epoch}.0")
    Lineside.publish("orders", "last")
    messages = browser.messages_until("last")
    expect(messages.select { |message| message["resent"] }).to eq([])
    received = messages[1..-2].map { |message| message["data"] }
    expect(received.group_by(&:first).transform_values { |own| own.map(&:last) })
      .to eq((0...4).to_h { |thread| [thread, [*0...200]] })
  end

  it "for longer than spool_seconds_max: drops publications, and logs it" do
    use(Lineside.config) { |config| config.spool_seconds_max = 1 }
    expect(Lineside.publish("orders", "old")).to be(true)
    expect { Lineside.publish!("orders", "old", timeout: 20) }
      .to raise_error(Lineside::NotAccepted, /dropped from the spool after 1 s/)
    expect(Lineside.publisher.status).to include(dropped_aged: 2)
    eventually("a log line") { Lineside.publish("orders", 1) && log.string.match?(/spool_seconds_max.*link\.sock/) }
    start_sidecar
    # Waits for the link, because the back-off can be longer than spool_seconds_max.
    eventually("the link") { Lineside.publisher.status[:linked] }
    expect(Lineside.publish!("orders", "last", timeout: 20)).to be_a(Lineside::Receipt)
  end

  it "is reported once by event and log, and so is its return" do
    events = []
    subscriber = ActiveSupport::Notifications.subscribe("link.lineside") { |*, payload| events << payload }
    Lineside.publish("orders", 1)
    eventually("the first event") { events.any? }
    start_sidecar
    eventually("the second event") { events.size == 2 }
    expect(events).to match([{ state: :down, remedy: /link\.sock.*bundle exec lineside/ }, { state: :up }])
    expect(log.string.scan(/link is \w+/)).to eq(["link is down", "link is up"])
    sidecar.signal(:KILL)
    expect(eventually("the third event") { events[2] }).to include(state: :down)
  ensure
    ActiveSupport::Notifications.unsubscribe(subscriber)
  end

  it "slow to answer: publish! raises Unconfirmed" do
    start_sidecar
    Lineside.publish!("orders", 1)
    sidecar.signal(:STOP)
    expect { Lineside.publish!("orders", 2, timeout: 0.1) }.to raise_error(Lineside::Unconfirmed, /once:/)
    sidecar.signal(:CONT)
    expect(Lineside.flush(timeout: 10)).to be(true)
  end
end
