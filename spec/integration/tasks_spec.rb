# frozen_string_literal: true

RSpec.describe "bin/rails", :generated_app, :sidecar do
  def initializer(text)
    write_app_file "config/initializers/lineside.rb", "Rails.application.configure do\n#{text}\nend"
  end

  # What `lineside:check` has found, by the names of its checks.
  def found(output)
    output.scan(/^(ok|warn|fail) +([a-z ]+?)(?:: (.*))?$/).to_h { |level, check, text| [check, [level, text].compact] }
  end

  it "lineside:check tells a new app what is missing, and what to do about it" do
    output = rails("lineside:check", env: publisher_env, exits: 1)
    expect(found(output)).to include(
      "sidecar" => ["fail", /no sidecar listens at #{link}.*start it with `bundle exec lineside`/],
      "secret" => ["ok"],
      "start" => ["warn", /nothing in .* starts the sidecar; run `bin.rails generate lineside:install`/],
      "started once" => ["ok"], "started alike" => ["ok"], "server" => ["ok"],
      "tags" => ["warn", /no view calls lineside_meta_tags; put .* into the head/],
      "browser module" => ["ok"],
      "user" => ["warn", /every page is nobody's; set config.lineside.user/],
      "user class" => ["warn", /no class User; name that of your users/],
      "parent controller" => ["ok"], "url" => ["ok"], "content security policy" => ["ok"],
      "https" => ["ok"]
    )
  end

  it "lineside:check finds nothing in one that is set up" do
    start_sidecar
    rails("generate", "lineside:install")
    write_app_file "app/models/user.rb", "class User; end"
    write_app_file "app/models/current.rb", "class Current < ActiveSupport::CurrentAttributes; attribute :user; end"
    write_app_file "config/initializers/content_security_policy.rb",
                   "Rails.application.config.content_security_policy { |policy| policy.default_src :self, :https }"
    output = rails("lineside:check", env: publisher_env.merge("LINESIDE_BIND" => "none"))
    expect(found(output)).to include("tags" => ["ok"], "sidecar" => ["ok"], "key" => ["ok"])
    expect(output).not_to match(/^(warn|fail)|booted the app/)
  end

  it "lineside:check doubts a production without https" do
    initializer "config.force_ssl = false"
    production = { **publisher_env, "RAILS_ENV" => "production", "SECRET_KEY_BASE" => "k" * 64 }
    output = rails("lineside:check", env: production, exits: 1)
    expect(found(output)["https"]).to match(["warn", /its identity cookie can be read on its way.*config.force_ssl/])
  end

  it "lineside:check finds what contradicts itself" do
    start_sidecar
    write_app_file "Procfile.dev", "live: LINESIDE_LINK=unix:/run/other.sock bundle exec lineside\n"
    write_app_file "config/puma.rb", "plugin :lineside\n"
    write_app_file "config/importmap.rb", "pin \"application\"\n"
    write_app_file "app/javascript/application.js", "import { connect } from \"lineside\"\n"
    initializer <<~RUBY
      config.force_ssl = true
      config.content_security_policy { |policy| policy.connect_src :self }
      config.lineside.url = "ws://live.example/lineside"
      config.lineside.parent_controller = "MembersController"
    RUBY
    another = { **publisher_env, "LINESIDE_SECRET" => "another secret of the specs: 32 bytes and more" }
    output = rails("lineside:check", env: another, exits: 1)
    expect(found(output).select { |_, (level)| level == "fail" }).to match(
      "key" => ["fail", /refuses tokens.*give both the same LINESIDE_SECRET/],
      "started once" => ["fail", /Procfile.dev and config.puma.rb both start a sidecar/],
      "started alike" => ["fail", /LINESIDE_LINK=unix:.run.other.sock, and the app has unix:#{link}/],
      "browser module" => ["fail", /add pin "lineside" to/],
      "parent controller" => ["fail", /no class MembersController/],
      "url" => ["fail", /no page under https may open; give wss/],
      "content security policy" => ["fail", /'self' only; add ws:..live.example to connect_src/]
    )
  end

  it "lineside:env prints the settings in effect, and the secret only when it is asked for" do
    initializer "config.lineside.public_channels = %w[news scores:*]"
    output = rails("lineside:env", env: { "LINESIDE_PATH" => "/live" })
    expect(output.lines(chomp: true))
      .to include("LINESIDE_LINK=unix:#{File.realpath(app_path)}/tmp/sockets/lineside.sock", "LINESIDE_PATH=/live",
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
