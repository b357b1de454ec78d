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
      "action cable path" => ["ok", nil]
    )
    write_app_file "config/initializers/own.rb", <<~RUBY
      Rails.application.config.action_cable.allow_same_origin_as_host = false
      Rails.application.config.action_cable.allowed_request_origins = ["https://shop.example"]
    RUBY
    expect(check["action cable path"]).to match ["fail", %r{answers 404 .* for /cable; .*allowed_request_origins}]
    write_app_file "config/cable.yml", "development:\n  adapter: async\n"
    expect(check.values_at("action cable", "action cable path"))
      .to eq [["skip", "config/cable.yml does not say adapter: lineside"]] * 2
  end
end
