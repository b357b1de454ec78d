# frozen_string_literal: true

RSpec.describe "Revocation by Lineside.disconnect", :sidecar do
  before { start_sidecar }

  # Connects a browser with an existing token.
  def connect_with(token) = Browser.new(@port, token:).tap { |browser| browsers << browser }

  def revoked = raise_error(/4002.*token_revoked/)

  it "closes the user's sockets and refuses earlier tokens" do
    token = Lineside.token("ada", channels: ["news"])
    devices = Array.new(3) { connect_with(token) }
    grace = browse("grace", channels: ["news"])
    nobody = browse(channels: ["news"])
    expect(Lineside.publish("news", 1)).to be(true)
    devices.each { |device| expect(device.receive("message")).to include("data" => 1) }
    expect(Lineside.disconnect("ada")).to be(true)
    Lineside.publish("news", "last")
    devices.each do |device|
      expect(device.receive("disconnect")).to include("code" => 4002, "reason" => "token_revoked")
    end
    [grace, nobody].each { |other| expect(other.data_until("last")).to eq([1, "last"]) }
    expect { connect_with(token) }.to revoked
  end

  it "does not affect a token signed right afterwards" do
    200.times do
      before = Lineside.token("ada")
      receipt = Lineside.disconnect!("ada")
      after = Lineside.token("ada")
      expect(receipt.cursor).to be_a(String)
      expect { connect_with(before) }.to revoked
      connect_with(after).close
    end
  end

  it "of one session leaves the user's other sessions connected" do
    phone, laptop = %w[phone laptop].map { |session| connect_with(Lineside.token("ada", session:)) }
    anywhere = browse("ada")
    other = connect_with(Lineside.token("grace", session: "phone"))
    Lineside.disconnect!("ada", session: "phone")
    expect(phone.receive("disconnect")).to include("code" => 4002)
    Lineside.publish_to("ada", "last")
    Lineside.publish_to("grace", "last")
    [laptop, anywhere, other].each { |browser| expect(browser.data_until("last")).to eq(["last"]) }
  end

  it "includes channel tokens of the user" do
    hers = Lineside.channel_token("orders", user: "ada")
    Lineside.disconnect!("ada")
    browser = browse("ada")
    browser.send_json(type: "subscribe", channel: "orders", token: hers)
    expect(browser.receive("error")).to include("code" => "token_revoked")
    browser.send_json(type: "subscribe", channel: "orders", token: Lineside.channel_token("orders", user: "ada"))
    expect(browser.receive("subscribed")).to include("channel" => "orders")
  end

  it "is applied in order with publications" do
    browser = browse("ada")
    100.times { |number| Lineside.publish_to("ada", number) }
    Lineside.disconnect("ada")
    Lineside.publish_to("ada", "not for her")
    delivered = []
    while (message = browser.receive(%w[message disconnect]))["type"] == "message"
      delivered << message["data"]
    end
    expect(delivered).to eq((0...delivered.size).to_a)
    expect(message).to include("code" => 4002)
  end

  it "identifies the user by the same rule as tokens" do
    user = Struct.new(:id).new(7)
    stub_const("User", user.class)
    browser = browse(user)
    expect(browser.welcome["user"]).to eq("7")
    expect(Lineside.disconnect(user)).to be(true)
    expect(browser.receive("disconnect")).to include("code" => 4002)
  end

  it "raises without a user or with an invalid session" do
    [nil, "", " "].each { |nobody| expect { Lineside.disconnect(nobody) }.to raise_error(ArgumentError) }
    ["", "x" * 256, "\xFF", Object.new].each do |session|
      expect { Lineside.disconnect("ada", session:) }.to raise_error(ArgumentError, /session/)
    end
    expect { Lineside.disconnect!("ada", timeout: nil) }.to raise_error(ArgumentError, /timeout/)
  end

  it "waits in the spool while the sidecar is stopped" do
    sidecar.signal(:STOP)
    expect(Lineside.disconnect("ada")).to be(true)
    expect { Lineside.disconnect!("ada", timeout: 0.05) }.to raise_error(Lineside::Unconfirmed)
    token = Lineside.token("grace")
    sidecar.signal(:CONT)
    expect(Lineside.flush(timeout: 10)).to be(true)
    expect { connect_with(token) }.not_to raise_error
  end

  it "is accepted if the spool is full for publications" do
    sidecar.signal(:STOP)
    data = "x" * 60_000
    nil while Lineside.publish("orders", data)
    token = Lineside.token("ada")
    expect(Lineside.disconnect("ada")).to be(true)
    expect(Lineside.publish("orders", data)).to be(false)
    sidecar.signal(:CONT)
    expect(Lineside.flush(timeout: 10)).to be(true)
    expect { connect_with(token) }.to revoked
  end
end
