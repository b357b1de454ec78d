# frozen_string_literal: true

RSpec.describe Lineside::SessionId do
  it "takes texts and numbers as they are, and records by their id" do
    record = Struct.new(:id)
    expect(["a", :a, 7, record.new(7), record.new("a")].map { |session| described_class.of(session) })
      .to eq(%w[a a 7 7 a])
  end

  it "never shows what the cookie of a Rails session holds" do
    require "rack/session/abstract/id"
    id = Rack::Session::SessionId.new("the secret of the cookie")
    session = Struct.new(:id).new(id)
    [id, session].each do |given|
      expect(described_class.of(given)).to eq(id.private_id)
      expect(described_class.of(given)).not_to include("the secret of the cookie")
    end
  end

  it "refuses what names no session" do
    unloaded = Struct.new(:id).new(nil)
    [nil, "", "x" * 256, "\xFF", "\xE9".encode("ISO-8859-1", "ISO-8859-1"), Object.new, unloaded].each do |session|
      expect { described_class.of(session) }.to raise_error(ArgumentError, /session/)
    end
  end
end
