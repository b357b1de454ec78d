# frozen_string_literal: true

require "tmpdir"
require "fileutils"

RSpec.describe Lineside::LinkPath do
  it "is in the app's folder by default, one for each environment" do
    expect(described_class.of(nil, "/srv/shop", "test")).to eq("/srv/shop/tmp/lineside/test.sock")
  end

  it "stays the same across deploys with a folder for each release" do
    Dir.mktmpdir do |app|
      FileUtils.mkdir_p([File.join(app, "shared"), File.join(app, "releases/20260102030405")])
      expect(described_class.of(nil, File.join(app, "releases/20260102030405"), "production")).to eq(
        File.join(app, "shared/tmp/lineside/production.sock")
      )
    end
    expect(described_class.of(nil, "/srv/releases/7", "test")).to eq("/srv/releases/7/tmp/lineside/test.sock")
  end

  it "accepts unix:PATH, relative to the app" do
    expect(described_class.of("unix:/run/x.sock", "/srv/shop", "test")).to eq("/run/x.sock")
    expect(described_class.of("unix:tmp/x.sock", "/srv/shop", "test")).to eq("/srv/shop/tmp/x.sock")
  end

  it "refuses other forms of links" do
    ["/run/x.sock", "tcp://127.0.0.1:1", "unix:", ""].each do |link|
      expect { described_class.of(link, "/srv", "test") }.to raise_error(Lineside::ConfigurationError, /unix:PATH/)
    end
  end

  it "replaces a path that is too long for a socket" do
    fits = "/#{'x' * 106}"
    expect(described_class.of("unix:#{fits}", "/", "test")).to eq(fits)
    shorter = described_class.of("unix:#{fits}x", "/", "test")
    expect(shorter).to match(%r{\A/tmp/lineside-#{Process.euid}/\h{16}\.sock\z})
    expect(described_class.of("unix:#{fits}x", "/", "test")).to eq(shorter)
    expect(described_class.of("unix:#{fits}y", "/", "test")).not_to eq(shorter)
  end
end
