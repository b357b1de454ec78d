# frozen_string_literal: true

RSpec.describe "Action Cable in an app in development", :generated_app, :sidecar do
  before do
    write_app_file "config/application.rb",
                   app_file("config/application.rb").gsub("# require \"action_cable", "require \"action_cable")
    write_app_file "config/cable.yml", "development:\n  adapter: lineside\n"
    write_app_file "app/channels/application_cable/channel.rb",
                   "module ApplicationCable\nclass Channel < ActionCable::Channel::Base\nend\nend"
    write_app_file "app/channels/board_channel.rb", "class BoardChannel < ApplicationCable::Channel\nend"
  end

  # Findings of `lineside:check` by name.
  def found(output)
    output.scan(/^(ok|warn|fail|skip) +([a-z ]+?)(?:: (.*))?$/).to_h { |level, check, text| [check, [level, text]] }
  end

  def check = found(rails("lineside:check", env: publisher_env, exits: 1))

  it "has its channels loaded and divided, and again after each reload of code" do
    output = rails("runner", <<~RUBY, env: publisher_env)
      Lineside.config.logger = Logger.new($stdout)
      ActionCable.server
      say = -> { puts Lineside::Cable.channels.summary }
      say.call
      File.write("app/channels/board_channel.rb", "class BoardChannel < ApplicationCable::Channel\ndef subscribed = 1\nend")
      File.write("app/channels/broken_channel.rb", "class BrokenChannel <")
      Rails.application.reloader.reload!
      2.times { say.call }
      Rails.application.reloader.reload!
      say.call
    RUBY
    before = "in the sidecar: ApplicationCable::Channel, BoardChannel; in the app: none"
    after = "in the sidecar: ApplicationCable::Channel; in the app: BoardChannel (defines subscribed)"
    expect(output.lines(chomp: true).grep(/^in/)).to eq [before, *[after] * 3]
    # Repeated for changes only.
    expect(output.scan(/Action Cable's channels run (.*)/).flatten).to eq [before, after]
    expect(output).to include("app/channels/broken_channel.rb cannot be loaded: SyntaxError")
  end

  it "is described by lineside:check, which asks for its path" do
    expect(check).to include(
      "action cable" => ["ok",
                         "channels run in the sidecar: ApplicationCable::Channel, BoardChannel; in the app: none"],
      "action cable path" => ["ok", nil], "action cable url" => ["ok", nil],
      "tags" => ["skip", "no view calls lineside_meta_tags, which pages of Action Cable do not need"]
    )
    write_app_file "app/javascript/application.js", "import { connect } from \"lineside\"\n"
    expect(check["tags"]).to match ["warn", /no view calls lineside_meta_tags; put/]
    write_app_file "config/initializers/own.rb", <<~RUBY
      Rails.application.config.action_cable.allow_same_origin_as_host = false
      Rails.application.config.action_cable.allowed_request_origins = ["https://shop.example"]
    RUBY
    expect(check["action cable path"]).to match ["fail", %r{answers 404 .* for /cable; .*allowed_request_origins}]
    write_app_file "config/cable.yml", "development:\n  adapter: async\n"
    expect(check.values_at("action cable", "action cable path", "action cable url"))
      .to eq [["skip", "config/cable.yml does not say adapter: lineside"]] * 3
  end

  it "has a warning if pages connect to another address" do
    { "wss://ws.shop.example/cable" => ["ok", /\Apages connect to .* must lead to this app or its sidecar\z/],
      "ws://localhost:8080/cable" => ["warn", /\Apages connect to .*; remove config\.action_cable\.url/] }
      .each do |url, finding|
        write_app_file "config/initializers/own.rb", "Rails.application.config.action_cable.url = \"#{url}\""
        expect(check["action cable url"]).to match finding
      end
  end

  it "is described by lineside:check for connections past the app" do
    by_route = lambda do |**env|
      env = publisher_env.merge(env.transform_keys(&:to_s))
      found(rails("lineside:check", env:, exits: 1))["action cable by route"]
    end
    expect(by_route.call).to eq ["skip", "config.lineside.cable_identity is not set"]
    expect(by_route.call(LINESIDE_CABLE_IDENTITY: "optional"))
      .to match ["ok", %r{to /cable .*identity cookie \(optional\); the app's connect does not run}]
    write_app_file "app/channels/turbo/streams_channel.rb",
                   "module Turbo\nclass StreamsChannel < ActionCable::Channel::Base\ndef subscribed = reject\nend\nend"
    expect(by_route.call(LINESIDE_CABLE_IDENTITY: "required"))
      .to match ["fail", /is not the one of turbo-rails, so the sidecar rejects it by route/]
    expect(by_route.call(LINESIDE_CABLE_IDENTITY: "required", LINESIDE_TURBO_KEYS: "aw=="))
      .to match ["fail", /LINESIDE_TURBO_KEYS is set, .* until a process of the app has linked; unset it/]
  end

  # Writes the channel of the board, which transmits a word and notes its end in a file.
  def write_board(word)
    write_app_file "app/channels/board_channel.rb", <<~RUBY
      class BoardChannel < ApplicationCable::Channel
        def subscribed = transmit(#{word.inspect})
        def unsubscribed = File.write(Rails.root.join("ended"), #{word.inspect}, mode: "a")
      end
    RUBY
  end

  def subscribe
    browser = CableBrowser.new(@port).tap { |it| browsers << it }
    browser.receive
    [browser, browser.subscribe(CableBrowser.identifier("BoardChannel"))["message"]]
  end

  it "closes connections when code is loaded again, and runs the new code" do
    write_app_file "config/routes.rb", 'Rails.application.routes.draw { get "/", to: ->(_) { [200, {}, ["page"]] } }'
    write_board("before")
    start_sidecar
    env = { **GeneratedApps.environment, **publisher_env, "RAILS_LOG_TO_STDOUT" => "1" }
    server = start([env, RbConfig.ruby, "bin/rails", "server", "-p", "0", "-b", "127.0.0.1"], chdir: app_path)
    @port = Integer(server.written(%r{Listening on http://127\.0\.0\.1:(\d+)})[1])
    browser, word = subscribe
    expect(word).to eq "before"
    expect(browser.receive["type"]).to eq "confirm_subscription"
    write_board("after")
    expect(Net::HTTP.get("127.0.0.1", "/", @port)).to eq "page"
    expect(browser.receive).to eq("type" => "disconnect", "reason" => "server_restart", "reconnect" => true)
    expect(subscribe.last).to eq "after"
    eventually("the end") { File.exist?(app_path("ended")) }
    expect(app_file("ended")).to eq "before"
  end
end
