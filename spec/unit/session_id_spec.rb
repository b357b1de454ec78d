# frozen_string_literal: true

RSpec.describe Lineside::SessionId do
  it "accepts texts and numbers unchanged, and records by their id" do
    record = Struct.new(:id)
    expect(["a", :a, 7, record.new(7), record.new("a")].map { |session| described_class.of(session) })
      .to eq(%w[a a 7 7 a])
  end

  it "never shows the value of a Rails session cookie" do
    require "rack/session/abstract/id"
    id = Rack::Session::SessionId.new("the secret of the cookie")
    session = Struct.new(:id).new(id)
    [id, session].each do |given|
      expect(described_class.of(given)).to eq(id.private_id)
      expect(described_class.of(given)).not_to include("the secret of the cookie")
    end
  end

  it "accepts an id of 255 bytes, the limit of the extension" do
    expect(Lineside::Native::SESSION_ID_BYTES_MAX).to eq(255)
    expect(described_class.of("x" * 255)).to eq("x" * 255)
  end

  it "refuses objects without a valid id" do
    unloaded = Struct.new(:id).new(nil)
    [nil, "", "x" * 256, "\xFF", "\xE9".encode("ISO-8859-1", "ISO-8859-1"), Object.new, unloaded].each do |session|
      expect { described_class.of(session) }.to raise_error(ArgumentError, /session/)
    end
  end
end
