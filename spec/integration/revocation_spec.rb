# frozen_string_literal: true

RSpec.describe "Signing out", :sidecar do
  before { start_sidecar }

  # A browser with a token that was made earlier.
  def come_with(token) = Browser.new(@port, token:).tap { |browser| browsers << browser }

  def revoked = raise_error(/4002.*token_revoked/)

  it "closes the user's sockets, refuses what was issued before, and nobody else's" do
    token = Lineside.token("ada", channels: ["news"])
    devices = Array.new(3) { come_with(token) }
    grace = browse("grace", channels: ["news"])
    nobody = browse(channels: ["news"])
    expect(Lineside.publish("news", 1)).to be(true)
    devices.each { |device| expect(device.hear("message")).to include("data" => 1) }
    expect(Lineside.disconnect("ada")).to be(true)
    Lineside.publish("news", "last")
    devices.each do |device|
      expect(device.hear("disconnect")).to include("code" => 4002, "reason" => "token_revoked")
    end
    [grace, nobody].each { |other| expect(other.data_until("last")).to eq([1, "last"]) }
    expect { come_with(token) }.to revoked
  end

  it "lets whoever signs in again in, at once" do
    200.times do
      before = Lineside.token("ada")
      receipt = Lineside.disconnect!("ada")
      after = Lineside.token("ada")
      expect(receipt.cursor).to be_a(String)
      expect { come_with(before) }.to revoked
      come_with(after).close
    end
  end

  it "ends one session, and leaves the user's others" do
    phone, laptop = %w[phone laptop].map { |session| come_with(Lineside.token("ada", session:)) }
    anywhere = browse("ada")
    other = come_with(Lineside.token("grace", session: "phone"))
    Lineside.disconnect!("ada", session: "phone")
    expect(phone.hear("disconnect")).to include("code" => 4002)
    Lineside.publish_to("ada", "last")
    Lineside.publish_to("grace", "last")
    [laptop, anywhere, other].each { |browser| expect(browser.data_until("last")).to eq(["last"]) }
  end

  it "ends channel tokens that were made for the user" do
    hers = Lineside.channel_token("orders", user: "ada")
    Lineside.disconnect!("ada")
    browser = browse("ada")
    browser.say(type: "subscribe", channel: "orders", token: hers)
    expect(browser.hear("error")).to include("code" => "token_revoked")
    browser.say(type: "subscribe", channel: "orders", token: Lineside.channel_token("orders", user: "ada"))
    expect(browser.hear("subscribed")).to include("channel" => "orders")
  end

  it "goes in order with what is published" do
    browser = browse("ada")
    100.times { |number| Lineside.publish_to("ada", number) }
    Lineside.disconnect("ada")
    Lineside.publish_to("ada", "not for her")
    delivered = []
    while (message = browser.hear(%w[message disconnect]))["type"] == "message"
      delivered << message["data"]
    end
    expect(delivered).to eq((0...delivered.size).to_a)
    expect(message).to include("code" => 4002)
  end

  it "knows the user as tokens do" do
    user = Struct.new(:id).new(7)
    stub_const("User", user.class)
    browser = browse(user)
    expect(browser.welcome["user"]).to eq("7")
    expect(Lineside.disconnect(user)).to be(true)
    expect(browser.hear("disconnect")).to include("code" => 4002)
  end

  it "raises for nobody, and for what is no session" do
    [nil, "", " "].each { |nobody| expect { Lineside.disconnect(nobody) }.to raise_error(ArgumentError) }
    ["", "x" * 256, "\xFF", Object.new].each do |session|
      expect { Lineside.disconnect("ada", session:) }.to raise_error(ArgumentError, /session/)
    end
    expect { Lineside.disconnect!("ada", timeout: nil) }.to raise_error(ArgumentError, /timeout/)
  end

  it "waits in the spool for a sidecar that is stopped, and neither blocks nor raises" do
    sidecar.signal(:STOP)
    expect(Lineside.disconnect("ada")).to be(true)
    expect { Lineside.disconnect!("ada", timeout: 0.05) }.to raise_error(Lineside::Unconfirmed)
    token = Lineside.token("grace")
    sidecar.signal(:CONT)
    expect(Lineside.flush(timeout: 10)).to be(true)
    expect { come_with(token) }.not_to raise_error
  end

  it "is accepted when publications are not" do
    sidecar.signal(:STOP)
    data = "x" * 60_000
    nil while Lineside.publish("orders", data)
    token = Lineside.token("ada")
    expect(Lineside.disconnect("ada")).to be(true)
    expect(Lineside.publish("orders", data)).to be(false)
    sidecar.signal(:CONT)
    expect(Lineside.flush(timeout: 10)).to be(true)
    expect { come_with(token) }.to revoked
  end
end
