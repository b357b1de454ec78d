# frozen_string_literal: true

RSpec.describe "Publishing", :sidecar do
  before { start_sidecar }

  it "reaches the subscribers of a channel and nobody else" do
    ada = browse("ada", channels: ["orders"])
    grace = browse("grace", channels: ["news"])
    expect(Lineside.publish("orders", { id: 7, total: 90 })).to be(true)
    expect(Lineside.publish_to("ada", { unread: 3 })).to be(true)
    expect(Lineside.publish_all([["news", 1], ["orders", 2]])).to be(true)
    %w[ada grace].each { |user| Lineside.publish_to(user, "last") }
    expect(ada.data_until("last")).to eq([{ "id" => 7, "total" => 90 }, { "unread" => 3 }, 2, "last"])
    expect(grace.data_until("last")).to eq([1, "last"])
  end

  it "returns a receipt with the cursor of the message" do
    browser = browse(channels: ["orders"])
    receipt = Lineside.publish!("orders", "now")
    expect(receipt.duplicate?).to be(false)
    expect(browser.receive("message")).to include("data" => "now", "cursor" => receipt.cursor)
    expect(Lineside.cursor).to eq(receipt.cursor)
  end

  it "with once: delivers once per channel" do
    browser = browse(channels: %w[orders news])
    first = Lineside.publish!("orders", 1, once: "order-7-paid")
    again = Lineside.publish!("orders", 2, once: "order-7-paid")
    expect(again).to have_attributes(duplicate?: true, cursor: first.cursor)
    Lineside.publish("orders", 3, once: "order-7-paid")
    Lineside.publish("news", 4, once: "order-7-paid")
    Lineside.publish("orders", "last")
    expect(browser.data_until("last")).to eq([1, 4, "last"])
  end

  it "reaches a channel subscribed with a channel token" do
    browser = browse("ada")
    browser.send_json(type: "subscribe", channel: "orders", token: Lineside.channel_token("orders", user: "ada"))
    expect(browser.receive("subscribed")).to include("channel" => "orders")
    Lineside.publish("orders", "for her")
    expect(browser.receive("message")).to include("data" => "for her")
  end

  it "is replayed after the cursor of the page" do
    Lineside.publish!("orders", "rendered")
    cursor = Lineside.cursor
    Lineside.publish!("orders", "missed")
    browser = browse(channels: ["orders"], after: cursor)
    expect(browser.welcome).to include("recovered" => true)
    expect(browser.receive("message")).to include("data" => "missed")
  end

  it "updates the cursor, also for publications of other processes" do
    expect(eventually("a cursor") { Lineside.cursor }).to match(/\A[\w-]{1,32}\.\d+\z/)
    theirs = ruby(<<~RUBY, env: publisher_env)
      require "lineside"
      print Lineside.publish!("orders", 1).cursor
    RUBY
    expect(eventually("their position") { Lineside.cursor == theirs }).to be(true)
  end

  it "is confirmed by flush" do
    200.times { |number| Lineside.publish("orders", number) }
    expect(Lineside.flush(timeout: 10)).to be(true)
    expect(Lineside.publisher.status).to include(accepted: 200, acked: 200, dropped_full: 0)
  end

  it "delivers every kind of text unchanged" do
    browser = browse(channels: ["orders"])
    text = "\u0000\u001F\"\\/<&>\u2028é語😀\u007F\u{10FFFF}"
    Lineside.publish("orders", { text => [text, text.to_sym] })
    expect(browser.receive("message")["data"]).to eq({ text => [text, text] })
    expect { Lineside.publish("orders", "\xFF") }.to raise_error(ArgumentError)
    expect { Lineside.publish("orders", "\x00\xFF".b) }.to raise_error(ArgumentError)
    Lineside.publish("orders", "last")
    expect(browser.data_until("last")).to eq(["last"])
  end

  it "raises Refused or logs a refusal, and delivers the next one" do
    browser = browse(channels: ["orders"])
    refused = [["not a * name", 1]]
    expect { Lineside.publisher.publish(refused, timeout: 10.0) }.to raise_error(Lineside::Refused, /\*/) { |error|
      expect(error.code).to eq(1)
    }
    expect(Lineside.publisher.publish(refused)).to be(true)
    Lineside.publish!("orders", "last")
    expect(browser.data_until("last")).to eq(["last"])
    expect(Lineside.publisher.status[:refused]).to eq(2)
    eventually("a line in the log") { Lineside.publish("orders", 1) && log.string.include?("refused by the sidecar") }
  end

  it "are refused, with a line in the log, if sidecar and app have different secrets" do
    browser = browse(channels: ["orders"])
    use(Lineside::Configuration.new) do |config|
      config.link = "unix:#{link}"
      config.secret = "another secret of the specs: 32 bytes"
    end
    expect { Lineside.publish!("orders", "refused", timeout: 0.5) }.to raise_error(Lineside::Unconfirmed)
    eventually("a line in the log") { log.string.match?(/different secrets.*LINESIDE_SECRET/) }
    ruby('require "lineside"; Lineside.publish!("orders", "accepted")', env: publisher_env)
    expect(browser.data_until("accepted")).to eq ["accepted"]
  end
end
