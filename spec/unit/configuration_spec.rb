# frozen_string_literal: true

RSpec.describe Lineside::Configuration do
  subject(:config) { described_class.new }

  it "has a variable and a default for every setting" do
    expect(described_class::SETTINGS.values.map(&:variable)).to all(start_with("LINESIDE_"))
    expect(described_class::SETTINGS.values.map(&:variable).uniq.size).to eq(described_class::SETTINGS.size)
    expect(config.bind).to eq("127.0.0.1:8090")
    expect(config.spool_seconds_max).to eq(60)
    expect(config.allowed_origins).to eq([])
  end

  it "prefers environment variables that are not empty" do
    config.spool_bytes_max = 1000
    ENV["LINESIDE_SPOOL_BYTES_MAX"] = ""
    expect(config.spool_bytes_max).to eq(1000)
    ENV["LINESIDE_SPOOL_BYTES_MAX"] = "2000"
    expect(config.spool_bytes_max).to eq(2000)
    ENV["LINESIDE_ALLOWED_ORIGINS"] = "https://a.example, https://b.example"
    expect(config.allowed_origins).to eq(%w[https://a.example https://b.example])
  end

  it "refuses an invalid count from the app and from the environment" do
    [0, -1, "ten", 1.5, "1e3", " 7"].each do |value|
      expect { config.spool_bytes_max = value }.to raise_error(Lineside::ConfigurationError, /spool_bytes_max/)
    end
    expect { config.payload_bytes_max = 65_537 }.to raise_error(Lineside::ConfigurationError, /1 to 65536/)
    ENV["LINESIDE_SPOOL_SECONDS_MAX"] = "soon"
    expect { config.spool_seconds_max }.to raise_error(Lineside::ConfigurationError, /SPOOL_SECONDS_MAX.*"soon"/)
  end

  it "assigns settings by name, and lists the names if one is unknown" do
    config.assign("bind" => "127.0.0.1:9999", user_class: "Account")
    expect([config.bind, config.user_class]).to eq(%w[127.0.0.1:9999 Account])
    expect { config.assign(bnid: "x") }.to raise_error(Lineside::ConfigurationError, /bnid.*bind/)
    expect { config.assign(urll: "x") }
      .to raise_error(Lineside::ConfigurationError, /\Aurll is not a setting of Lineside \(did you mean url\?\)/)
    expect { config.bnid = "x" }.to raise_error(NoMethodError)
  end

  it "refuses a rule that is not a lambda" do
    config.assign(user: -> { "ada" }, token: nil, user_id: "".method(:upcase))
    %i[user token user_id].each do |name|
      expect { config.assign(name => :current_user) }
        .to raise_error(Lineside::ConfigurationError, /\A#{name} is :current_user: give a lambda, such as ->/)
    end
  end

  {
    link: ["/run/x.sock", "tcp://127.0.0.1:1", "unix:"], bind: [8090, "8090", "localhost", ":8090", "127.0.0.1"],
    admin_bind: [true, "metrics"], admin_hosts: ["http://metrics.internal"],
    path: ["lineside", "/a b", "/up", "/a/", "//"],
    url: ["live.example.com", "ftp://a"], allowed_origins: ["example.com", %w[https://a.example b.example], "*"],
    hosts: [[/example/], "https://example.com", "example.com:80", %w[a.example *.b.example]],
    logger: [$stdout, "app.log"],
    trusted_proxies: %w[proxy.internal 10], public_channels: %w[news,user:1 cable:x],
    user_class: ["user", :account], parent_controller: ["admin/base", Object.new], record: ["yes", 1],
    identity_cookie: [nil, "no"], spool_bytes_max: [0], token_expires_in: ["soon"], token: [{ channels: ["news"] }]
  }.each do |name, values|
    it "refuses an invalid #{name}, with an example" do
      message = /\A#{name} (is|has) .*: give .*(such as|true or false|whole number)/
      values.each do |value|
        expect { config.assign(name => value) }.to raise_error(Lineside::ConfigurationError, message)
      end
    end
  end

  it "accepts every valid form" do
    config.assign(
      link: "unix:tmp/x.sock", bind: "[::]:0", admin_bind: "none", admin_hosts: "metrics.internal, metrics_2",
      path: "/tenant-1/live.socket", url: "wss://live.example.com/lineside", user_class: "Admin::User",
      allowed_origins: %w[https://a.example https://*.a.example:8443 capacitor://localhost https://a.example/ null],
      trusted_proxies: "10.0.0.0/8, ::1, fd00::/8", public_channels: "news, scores:*",
      hosts: %w[a.example .B.example 10.0.0.1/8 [::1] ::1/128 web_1], record: nil, logger: nil, identity_cookie: false,
      parent_controller: "Admin::BaseController"
    )
    expect(config.allowed_origins.size).to eq 5
    config.assign(path: "/", url: "/lineside", public_channels: [], trusted_proxies: "")
    expect(config.trusted_proxies).to eq []
  end

  it "names the variable of an invalid value in the environment" do
    ENV["LINESIDE_BIND"] = "8090"
    expect { Lineside.configure { nil } }
      .to raise_error(Lineside::ConfigurationError, /\ALINESIDE_BIND is "8090": give an address and a port, such as/)
  end

  it "passes link and settings to the sidecar, without the secret" do
    config.root = "/srv/app"
    config.secret = Settings::SECRET
    config.allowed_origins = %w[https://a.example https://b.example]
    ENV["LINESIDE_PATH"] = "/live"
    expect(config.environment).to eq(
      "LINESIDE_LINK" => "unix:/srv/app/tmp/lineside/development.sock",
      "LINESIDE_ALLOWED_ORIGINS" => "https://a.example,https://b.example",
      "LINESIDE_PATH" => "/live"
    )
  end

  it "has a link for each environment, which is named as in Rails" do
    link = ->(env) { ruby("require 'lineside'; print File.basename(Lineside.config.link_path)", env:) }
    expect(link.call("RAILS_ENV" => "", "RACK_ENV" => nil)).to eq "development.sock"
    expect(link.call("RAILS_ENV" => nil, "RACK_ENV" => "staging")).to eq "staging.sock"
    expect(link.call("RAILS_ENV" => "test", "RACK_ENV" => "staging")).to eq "test.sock"
  end

  it "omits secrets from inspect" do
    config.secret = Settings::SECRET
    config.app_key = "another key of the specs, also 32 bytes"
    expect(config.inspect).to include("bind").and(satisfy { |text| !text.match?(/of the specs/) })
  end

  describe "the secret" do
    it "is read from environment, file, setting and app key, in this order" do
      config.app_key = "key of the app " * 3
      derived = config.secret
      expect(derived).to match(/\A\h{64}\z/)
      config.secret = ["first secret", "second secret"]
      expect(config.secret).to eq("first secret,second secret")
      Tempfile.create("secret") do |file|
        file.write("from a file\n")
        file.flush
        ENV["LINESIDE_SECRET_FILE"] = file.path
        expect(config.secret).to eq("from a file")
        ENV["LINESIDE_SECRET"] = "from the environment"
        expect(config.secret).to eq("from the environment")
      end
    end

    it "raises an error with a remedy if it is missing" do
      expect(config.secret?).to be(false)
      expect { config.secret }.to raise_error(Lineside::ConfigurationError, /LINESIDE_SECRET/)
      config.app_key = "short"
      expect { config.secret }.to raise_error(Lineside::ConfigurationError, /5 bytes/)
      ENV["LINESIDE_SECRET_FILE"] = "/nowhere/secret"
      expect { config.secret }.to raise_error(Lineside::ConfigurationError, %r{/nowhere/secret})
    end

    it "is refused in a file that is too large or no text" do
      Tempfile.create("secret") do |file|
        ENV["LINESIDE_SECRET_FILE"] = file.path
        File.write(file.path, "s" * 16_384)
        expect(config.secret.bytesize).to eq 16_384
        { "s" * 16_385 => /more than 16384 bytes/, "\xFF" * 64 => /not UTF-8/ }.each do |content, message|
          File.binwrite(file.path, content)
          expect { config.secret }.to raise_error(Lineside::ConfigurationError, message)
        end
      end
    end

    it "is a String or an Array of them, and never shown" do
      [-> { Settings::SECRET }, :secret, { key: Settings::SECRET }, [nil, Settings::SECRET], "#{Settings::SECRET}\xFF"]
        .each do |value|
          expect { config.secret = value }
            .to raise_error(Lineside::ConfigurationError, /\Asecret contains (a [A-Z]\w+|text that is not UTF-8): give/)
        end
      [Settings::SECRET, [Settings::SECRET], nil].each { |value| expect { config.secret = value }.not_to raise_error }
    end

    it "depends on the app key" do
      secrets = ["a" * 40, "a" * 40, "b" * 40].map { |key| described_class.new.tap { |it| it.app_key = key }.secret }
      expect(secrets.uniq.size).to eq(2)
    end
  end

  it "accepts a replica_lag of up to a minute" do
    [0.5, 60, "60".to_r, nil].each { |lag| expect { config.replica_lag = lag }.not_to raise_error }
    [0, -1, 61, "2", Float::NAN, Float::INFINITY, true].each do |lag|
      expect { config.replica_lag = lag }.to raise_error(Lineside::ConfigurationError, /replica_lag is .*2\.5/)
    end
  end

  it "loads without the extension" do
    expect(ruby(<<~RUBY)).to eq("unix:/srv/x.sock false")
      require "lineside/configuration"
      config = Lineside::Configuration.new
      config.link = "unix:/srv/x.sock"
      print config.environment["LINESIDE_LINK"], " ", defined?(Lineside::Native) ? true : false
    RUBY
  end
end
