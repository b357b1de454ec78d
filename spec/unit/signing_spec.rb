# frozen_string_literal: true

require "base64"
require "json"
require "openssl"

RSpec.describe Lineside::Signing do
  before { use(Lineside.config) { |config| config.secret = Settings::SECRET } }

  def claims(token) = JSON.parse(Base64.urlsafe_decode64(token.split(".")[1]))

  it "signs the grants of a connection token" do
    token = Lineside.token("42", channels: ["news", %i[room 7]], allow: ["chat:*", :lobby], expires_in: 60)
    expect(claims(token)).to include("aud" => "lineside", "sub" => "42", "channels" => ["news", "room:7"],
                                     "allow" => ["chat:*", "lobby"])
    expect(claims(token)["exp"] - claims(token)["iat"]).to eq(60)
    expect(claims(token)["iat_ms"] / 1000).to eq(claims(token)["iat"])
  end

  it "signs an anonymous connection token without sub" do
    expect(claims(Lineside.token(nil, channels: ["news"]))).not_to have_key("sub")
  end

  it "signs the session of a connection token" do
    expect(claims(Lineside.token("42", session: "phone"))["sid"]).to eq("phone")
    expect(claims(Lineside.token("42"))).not_to have_key("sid")
    expect(claims(Lineside.token(nil, session: "phone"))).not_to have_key("sid")
    expect { Lineside.token("42", session: "") }.to raise_error(ArgumentError, /session/)
  end

  it "signs a channel token for one user or any user" do
    expect(claims(Lineside.channel_token("news"))).to include("aud" => "lineside:channel", "channel" => "news")
    expect(claims(Lineside.channel_token("news"))).not_to have_key("sub")
    expect(claims(Lineside.channel_token("news", user: 42))["sub"]).to eq("42")
  end

  it "signs an identity cookie for at most an hour" do
    good = { sub: "42", sid: nil, seconds: 3600 }
    sign = ->(**changes) { Lineside::Native.sign_identity(Settings::SECRET, **good, **changes) }
    expect(claims(sign.call)).to include("aud" => "lineside:cable", "sub" => "42")
    expect(claims(sign.call(sid: "phone"))["sid"]).to eq("phone")
    expect(claims(sign.call(identifier: "Z2lk"))["identifier"]).to eq("Z2lk")
    expect(claims(sign.call(identifier: nil))).not_to have_key("identifier")
    expect { sign.call(identifier: "a\nb") }.to raise_error(ArgumentError, /identifier/)
    expect { sign.call(seconds: 3601) }.to raise_error(ArgumentError, /3600/)
    expect { sign.call(sub: "") }.to raise_error(ArgumentError, /sub/)
  end

  it "refuses names that a token cannot contain" do
    [-> { Lineside.token("42", channels: ["user:7"]) }, -> { Lineside.token("42", channels: ["a*"]) },
     -> { Lineside.token("") }, -> { Lineside.token("42", allow: ["a*b"]) }, -> { Lineside.token("42", allow: [nil]) },
     -> { Lineside.token("42", allow: ["\xFF"]) }, -> { Lineside.channel_token("cable:x") },
     -> { Lineside.channel_token("news", user: " ") }, -> { Lineside.token("42", channels: ["x"] * 129) }]
      .each { |sign| expect(&sign).to raise_error(ArgumentError) }
  end

  it "refuses grants that open nothing" do
    %w[user:* user:7 cable:* cable:x].each do |grant|
      expect { Lineside.token("42", allow: ["news", grant]) }
        .to raise_error(ArgumentError, /"#{Regexp.escape(grant)}" gives nothing/)
    end
    expect(Lineside.token("42", allow: %w[users:* user *])).to be_a(String)
  end

  it "refuses a single name instead of a list, with a remedy" do
    ["news", nil, :news, { "news" => 1 }].each do |single|
      expect { Lineside.token("1", channels: single) }.to raise_error(ArgumentError, /channels:.*\["news"\]/)
      expect { Lineside.token("1", allow: single) }.to raise_error(ArgumentError, /allow:/)
    end
  end

  it "refuses invalid lifetimes" do
    [0, -1, 0.5, 86_401, "60", nil, Float::NAN, Float::INFINITY].each do |life|
      expect { Lineside.token("42", expires_in: life) }.to raise_error(ArgumentError, /expires_in|lives/)
    end
    expect(Lineside.token("42", expires_in: 86_400)).to be_a(String)
  end

  it "refuses weak secrets without printing them" do
    ["short", "x" * 32, "#{Settings::SECRET},tiny"].each do |secret|
      weak = ->(config) { config.secret = secret }
      [-> { Lineside.configure(&weak) || Lineside.publisher }, -> { Lineside.token("42") }].each do |sign|
        expect(&sign).to raise_error(Lineside::ConfigurationError) { |e| expect(e.message).not_to include(secret) }
      end
    end
  end

  it "signs with the first of several secrets" do
    Lineside.config.secret = [Settings::SECRET, "another secret of the specs: 32 bytes"]
    signed, mac = Lineside.token("42").match(/\A(.*)\.(.*)\z/).captures
    expect(Base64.urlsafe_decode64(mac)).to eq(OpenSSL::HMAC.digest("SHA256", Settings::SECRET, signed))
  end
end
