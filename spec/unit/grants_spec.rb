# frozen_string_literal: true

require "active_support/all"
require "lineside/grants"
require "lineside/request_user"

RSpec.describe "Rules of the app" do
  it "accept the grants of a token, and nothing" do
    grants = { channels: ["news"], allow: ["chat:*"], session: "7", expires_in: 60 }
    expect(Lineside::Grants.check(grants)).to eq grants
    expect(Lineside::Grants.check(nil)).to eq({})
  end

  it "refuse other grants, with the setting and an example" do
    [{ chanels: [] }, ["news"], 7].each do |grants|
      expect { Lineside::Grants.check(grants) }
        .to raise_error(Lineside::ConfigurationError, /lineside.token returned .*such as { channels: \["news"\] }/)
    end
  end

  it "refuse true as the user, with the setting and an example" do
    Lineside.config.user = -> { true }
    expect { Lineside::RequestUser.of(Object.new) }
      .to raise_error(Lineside::ConfigurationError, /config.lineside.user returned true: .*such as -> { current_user }/)
  end

  it "take false as nobody" do
    Lineside.config.user = -> { false }
    expect(Lineside::RequestUser.of(Object.new)).to be_nil
  end
end
