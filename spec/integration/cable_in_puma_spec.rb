# frozen_string_literal: true

RSpec.describe "Action Cable in Puma with adapter: lineside", :app, :sidecar do
  before do
    start_sidecar
    serve_file("action_cable")
  end

  def visit(user, room)
    browser = CableBrowser.new(@port, path: "/cable?user=#{user}").tap { |it| browsers << it }
    [browser, browser.subscribe("ChatChannel", room:)]
  end

  # Starts the app's port over the sidecar's.
  def start_sidecar(...)
    port = @port
    super.tap { @port = port if port }
  end

  # Broadcasts from a process that is no part of the app, such as a job runner.
  def broadcast_elsewhere(*messages)
    ruby(<<~RUBY, env: publisher_env)
      require "active_support/all"
      require "action_cable"
      require "lineside"
      ActionCable.server.config.cable = { "adapter" => "lineside" }
      ActionCable.server.config.logger = Logger.new(nil)
      #{messages}.each { |message| ActionCable.server.broadcast("chat:1", message) }
    RUBY
  end

  it "delivers broadcasts of another process and of its own to WebSocket clients" do
    browser, identifier = visit("ada", 1)
    same, = visit("ben", 1)
    other, = visit("ben", 2)
    broadcast_elsewhere({ "text" => "<é>" })
    expect([browser.next_message, same.next_message]).to all(eq({ "text" => "<é>" }))
    Net::HTTP.get("127.0.0.1", "/broadcast/1/2", @port)
    expect([browser.next_message, same.next_message]).to eq %w[2 2]
    browser.unsubscribe(identifier)
    browser.subscribe("ChatChannel", room: 3)
    Net::HTTP.get("127.0.0.1", "/broadcast/1/3", @port)
    Net::HTTP.get("127.0.0.1", "/broadcast/2/4", @port)
    Net::HTTP.get("127.0.0.1", "/broadcast/3/5", @port)
    expect([browser, same, other].map(&:next_message)).to eq %w[5 3 4]
  end

  it "delivers everything across a planned restart of the sidecar" do
    browser, = visit("ada", 1)
    broadcast_elsewhere(1)
    expect(browser.next_message).to eq 1
    sidecar.signal(:TERM)
    sidecar.wait
    Net::HTTP.get("127.0.0.1", "/broadcast/1/2", @port)
    start_sidecar
    broadcast_elsewhere(3)
    # Action Cable's own pool of threads may reorder them.
    expect(Array.new(2) { browser.next_message }).to contain_exactly("2", 3)
    expect(puma.output).not_to match(/may be missing|receives no broadcasts/)
  end

  it "ends the connections of a user with disconnect" do
    ended, = visit("ada", 1)
    kept, = visit("ben", 1)
    Net::HTTP.get("127.0.0.1", "/disconnect/ada", @port)
    expect { ended.next_message }.to raise_error(/closed with/)
    broadcast_elsewhere(1)
    expect(kept.next_message).to eq 1
  end
end
