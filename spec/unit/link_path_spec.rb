# frozen_string_literal: true

require "tmpdir"
require "fileutils"

RSpec.describe Lineside::LinkPath do
  it "is in the app's folder by default" do
    expect(described_class.of(nil, "/srv/shop")).to eq("/srv/shop/tmp/sockets/lineside.sock")
  end

  it "stays the same across deploys with a folder for each release" do
    Dir.mktmpdir do |app|
      FileUtils.mkdir_p([File.join(app, "shared"), File.join(app, "releases/20260102030405")])
      expect(described_class.of(nil, File.join(app, "releases/20260102030405"))).to eq(
        File.join(app, "shared/tmp/sockets/lineside.sock")
      )
    end
    expect(described_class.of(nil, "/srv/releases/7")).to eq("/srv/releases/7/tmp/sockets/lineside.sock")
  end

  it "accepts unix:PATH, relative to the app" do
    expect(described_class.of("unix:/run/x.sock", "/srv/shop")).to eq("/run/x.sock")
    expect(described_class.of("unix:tmp/x.sock", "/srv/shop")).to eq("/srv/shop/tmp/x.sock")
  end

  it "refuses other forms of links" do
    ["/run/x.sock", "tcp://127.0.0.1:1", "unix:", ""].each do |link|
      expect { described_class.of(link, "/srv") }.to raise_error(Lineside::ConfigurationError, /unix:PATH/)
    end
  end

  it "replaces a path that is too long for a socket" do
    fits = "/#{'x' * 106}"
    expect(described_class.of("unix:#{fits}", "/")).to eq(fits)
    shorter = described_class.of("unix:#{fits}x", "/")
    expect(shorter).to match(%r{\A/tmp/lineside-#{Process.euid}/\h{16}\.sock\z})
    expect(described_class.of("unix:#{fits}x", "/")).to eq(shorter)
    expect(described_class.of("unix:#{fits}y", "/")).not_to eq(shorter)
  end
end
