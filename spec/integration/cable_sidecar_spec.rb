# frozen_string_literal: true

require "active_support"
require "active_support/message_verifier"

RSpec.describe "Action Cable connections in the sidecar", :app, :cable_classes, :sidecar do
  def cable(path = "/cable?user=7", **headers)
    CableBrowser.new(@port, path:, headers: headers.transform_keys(&:to_s)).tap { |browser| browsers << browser }
  end

  def connected(...) = cable(...).tap { |browser| expect(browser.receive).to eq("type" => "welcome") }

  def identifier(...) = CableBrowser.identifier(...)

  # Identifier of a stream, with the name signed as the app does.
  def turbo(name, key: "the key of Turbo", **options)
    verifier = ActiveSupport::MessageVerifier.new(key, digest: "SHA256", serializer: JSON)
    identifier("Turbo::StreamsChannel", signed_stream_name: verifier.generate(name, **options))
  end

  # Publishes on a stream of Action Cable.
  def broadcast(stream, data)
    command = [publisher_env, Lineside::Binary.path, "publish", "cable:#{stream}", JSON.generate(data)]
    expect(start(command).wait).to be_success
  end

  # Publishes what the app's `remote_connections.where(…).disconnect` broadcasts.
  def disconnect_remotely(identified, **options)
    server = server_of(connection_class { identified_by :current_user, :tenant })
    server.define_singleton_method(:broadcast) { |name, message| @sent = [name, message] }
    server.remote_connections.where(identified).disconnect(**options)
    broadcast(*server.instance_variable_get(:@sent))
  end

  def serve_all
    start_sidecar
    serve
  end

  it "are welcomed with Action Cable's protocol, and pinged" do
    serve_all
    browser = connected
    expect(browser.head).to match(/^sec-websocket-protocol: actioncable-v1-json\r$/i)
    browser.receive_ping
  end

  it "confirm Turbo's streams and deliver their messages" do
    serve_all
    browser = connected
    board = turbo("board")
    expect(browser.subscribe(board)).to eq("identifier" => board, "type" => "confirm_subscription")
    broadcast("board", "<turbo-stream>")
    expect(browser.receive).to eq("identifier" => board, "message" => "<turbo-stream>")
  end

  it "reject names of streams that are forged, expired or missing" do
    serve_all
    browser = connected
    [turbo("board", key: "another key"), turbo("board", expires_at: Time.now - 60),
     identifier("Turbo::StreamsChannel")].each do |forged|
      expect(browser.subscribe(forged)).to eq("identifier" => forged, "type" => "reject_subscription")
    end
  end

  it "confirm empty channel classes" do
    serve_all
    browser = connected
    %w[HeartbeatChannel ApplicationCable::Channel].each do |name|
      expect(browser.subscribe(identifier(name))["type"]).to eq "confirm_subscription"
    end
  end

  it "are told that they are unauthorized if connect rejects them" do
    serve_all
    %w[/cable /cable?user=banned].each do |path|
      browser = cable(path)
      expect(browser.receive).to eq("type" => "disconnect", "reason" => "unauthorized", "reconnect" => false)
      browser.receive_close
    end
  end

  it "take the user from the session that the page's request has written" do
    serve_all
    visitor = Visitor.new(@port)
    visitor.get("/sign_in/8")
    browser = connected("/cable", Cookie: visitor.cookies.map { |pair| pair.join("=") }.join("; "))
    other = connected
    Lineside.disconnect!("8")
    expect(browser.receive).to include("type" => "disconnect")
    browser.receive_close
    expect(other.subscribe(identifier("HeartbeatChannel"))["type"]).to eq "confirm_subscription"
    # After the sign-out, a new decision of the app counts.
    connected("/cable?user=8")
  end

  it "are ended by remote_connections.where with their identifier, below the prefix of a tenant" do
    serve_all
    first, second = Array.new(2) { connected("/1234567/cable?user=7") }
    others = [connected, connected("/1234567/cable?user=8")]
    disconnect_remotely({ current_user: "7", tenant: "1234567" })
    [first, second].each do |browser|
      expect(browser.receive).to eq("type" => "disconnect", "reason" => "remote", "reconnect" => true)
      browser.receive_close
    end
    others.each do |browser|
      expect(browser.subscribe(identifier("HeartbeatChannel"))["type"]).to eq "confirm_subscription"
    end
  end

  # Rails 6.1 and 7.0 have no such option.
  version = Gem.loaded_specs["actioncable"].version
  it "are ended without a reconnect if remote_connections says so", if: version >= Gem::Version.new("7.1") do
    serve_all
    browser = connected
    disconnect_remotely({ current_user: "7", tenant: nil }, reconnect: false)
    expect(browser.receive).to eq("type" => "disconnect", "reason" => "remote", "reconnect" => false)
    browser.receive_close
  end

  it "stay open when the app is killed" do
    serve_all
    browser = connected
    board = turbo("board")
    browser.subscribe(board)
    puma.signal(:KILL)
    puma.wait
    broadcast("board", 1)
    expect(browser.receive).to eq("identifier" => board, "message" => 1)
  end
end
