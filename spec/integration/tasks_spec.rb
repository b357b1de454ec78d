# frozen_string_literal: true

RSpec.describe "bin/rails", :generated_app, :sidecar, :app do
  def initializer(text)
    write_app_file "config/initializers/lineside.rb", "Rails.application.configure do\n#{text}\nend"
  end

  # Findings of `lineside:check` by name.
  def found(output)
    lines = output.scan(/^(ok|warn|fail|skip) +([a-z, ]+?)(?:: (.*))?$/)
    lines.to_h { |level, check, text| [check, [level, text].compact] }
  end

  it "lineside:check prints findings and remedies for a new app" do
    output = rails("lineside:check", env: publisher_env, exits: 1)
    expect(found(output)).to include(
      "sidecar" => ["fail", /no sidecar listens at #{link}.*start it with `bundle exec lineside`/],
      "secret" => ["ok"],
      "start" => ["warn", /nothing in .* starts the sidecar; run `bin.rails .*install`, unless you start it/],
      "started once" => ["ok"], "started alike" => ["ok"], "server" => ["ok"],
      "tags" => ["warn", /no view calls lineside_meta_tags; put .* into the head/],
      "browser module" => ["skip", "there is no config/importmap.rb"],
      "web socket" => ["skip", /give the app.s address/],
      "user" => ["warn", /every page is anonymous; set config.lineside.user/],
      "user class" => ["warn", /no class User; set config.lineside.user_class/],
      "url" => ["ok"], "path" => ["ok"],
      "content security policy" => ["ok"],
      "https" => ["skip", "this is no production environment"]
    )
  end

  it "lineside:check finds a middleware that takes the WebSocket's path" do
    initializer <<~RUBY
      config.middleware.insert_before 0, Class.new {
        def initialize(app) = @app = app
        def call(env) = env["PATH_INFO"] == "/lineside" ? [204, {}, []] : @app.call(env)
      }
    RUBY
    output = rails("lineside:check", env: publisher_env, exits: 1)
    expect(found(output)["path"]).to match ["fail", /answers 204 .* for .lineside.*config.lineside.path/]
    expect(found(output)["key, version, sidecar path, cable by route"]).to eq ["skip", "no sidecar answers"]
  end

  it "lineside:check opens the WebSocket of a running app" do
    start_sidecar
    web_socket = ->(url) { found(rails("lineside:check", "URL=#{url}", env: publisher_env, exits: nil))["web socket"] }
    port = serve_by([RbConfig.ruby, "-I", Processes::LIBRARY, "-S", "puma", "-C", Apps::CONFIG])
    expect(web_socket.call("http://127.0.0.1:#{port}/")).to eq ["ok"]
    expect(web_socket.call("http://127.0.0.1:#{port}/shop")).to match ["fail", %r{/shop/lineside answers 404}]
    expect(web_socket.call("http://127.0.0.1:1")).to match ["fail", /cannot be reached: Errno::ECONNREFUSED/]
  end

  it "lineside:check finds no fault in a complete set-up" do
    start_sidecar
    write_app_file "config/importmap.rb", "pin(\"lineside\")\n"
    write_app_file "app/javascript/application.js", "import { connect } from \"lineside\"\n"
    rails("generate", "lineside:install")
    write_app_file "app/models/user.rb", "class User; end"
    write_app_file "app/models/current.rb", "class Current < ActiveSupport::CurrentAttributes; attribute :user; end"
    write_app_file "config/initializers/content_security_policy.rb",
                   "Rails.application.config.content_security_policy { |policy| policy.default_src :self, :https }"
    ports = { "LINESIDE_BIND" => "none", "LINESIDE_ADMIN_BIND" => "none" }
    output = rails("lineside:check", env: publisher_env.merge(ports))
    expect(found(output)).to include("tags" => ["ok"], "sidecar" => ["ok"], "key" => ["ok"])
    expect(output).not_to match(/^(warn|fail)|booted the app/)
  end

  it "lineside:check asks the app for the path of the WebSocket" do
    write_app_file "config/initializers/own.rb", <<~RUBY
      Rails.application.config.middleware.insert_before 0, (Class.new do
        def initialize(app) = @app = app
        def call(env) = env["PATH_INFO"] == "/lineside" ? [404, {}, []] : @app.call(env)
      end)
    RUBY
    output = rails("lineside:check", env: publisher_env, exits: 1)
    expect(found(output)["path"]).to match(["fail", %r{answers 404 to a WebSocket request for /lineside; check}])
    output = rails("lineside:check", env: publisher_env.merge("LINESIDE_PATH" => "/live"), exits: 1)
    expect(found(output)["path"]).to eq ["ok"]
  end

  it "lineside:check warns about production without https" do
    initializer "config.force_ssl = false"
    production = { **publisher_env, "RAILS_ENV" => "production", "SECRET_KEY_BASE" => "k" * 64 }
    output = rails("lineside:check", env: production, exits: 1)
    expect(found(output)["https"]).to match(["warn", /its identity cookie can be intercepted.*config.force_ssl/])
  end

  it "lineside:check finds contradictory settings" do
    start_sidecar
    write_app_file "Procfile.dev", "live: LINESIDE_LINK=unix:/run/other.sock bundle exec lineside\n"
    write_app_file "config/puma.rb", "plugin :lineside\n"
    write_app_file "config/importmap.rb", "pin \"application\"\n"
    write_app_file "app/javascript/application.js", "import { connect } from \"lineside\"\n"
    initializer <<~RUBY
      config.force_ssl = true
      config.content_security_policy { |policy| policy.connect_src :self }
      config.lineside.url = "ws://live.example/lineside"
    RUBY
    another = { **publisher_env, "LINESIDE_SECRET" => "another secret of the specs: 32 bytes and more" }
    output = rails("lineside:check", env: another, exits: 1)
    expect(found(output).select { |_, (level)| level == "fail" }).to match(
      "key" => ["fail", /refuses tokens.*give both the same LINESIDE_SECRET/],
      "started once" => ["fail", /Procfile.dev and config.puma.rb both start a sidecar/],
      "started alike" => ["fail", /LINESIDE_LINK=unix:.run.other.sock, but the app has unix:#{link}/],
      "browser module" => ["fail", /add pin "lineside" to/],
      "url" => ["fail", /pages under https cannot open; give wss/],
      "content security policy" => ["fail", /'self' only; add ws:..live.example to connect_src/]
    )
  end

  it "lineside:env prints the settings, and the secret with REVEAL=1 only" do
    initializer "config.lineside.public_channels = %w[news scores:*]"
    output = rails("lineside:env", env: { "LINESIDE_PATH" => "/live" })
    expect(output.lines(chomp: true))
      .to include("LINESIDE_LINK=unix:#{File.realpath(app_path)}/tmp/lineside/development.sock", "LINESIDE_PATH=/live",
                  "LINESIDE_SPOOL_SECONDS_MAX=60", "LINESIDE_PUBLIC_CHANNELS=news,scores:\\*",
                  "LINESIDE_SECRET=[redacted]")
    expect(output).not_to include("LINESIDE_URL")
    revealed = rails("lineside:env", "REVEAL=1", env: publisher_env)
    expect(revealed).to include("LINESIDE_SECRET=#{Settings::SECRET.shellescape}\n")
    write_app_file "tmp/secret", Settings::SECRET
    file = rails("lineside:env", "REVEAL=1", env: { "LINESIDE_SECRET_FILE" => app_path("tmp/secret") })
    expect(file).to include("LINESIDE_SECRET_FILE=#{app_path('tmp/secret')}")
    expect(file).not_to include("LINESIDE_SECRET=")
  end
end
