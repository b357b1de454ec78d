# frozen_string_literal: true

RSpec.describe "Hand-off of Action Cable connections", :app, :sidecar do
  let(:fake) { FakeSidecar.new(link) }
  let(:own_origin) { { "Origin" => "http://127.0.0.1:#{@port}" } }

  # Sends a WebSocket request, and returns the socket.
  def request(path = "/cable?user=7", **fields)
    upgrade = { "Host" => "127.0.0.1:#{@port}", "Upgrade" => "websocket", "Connection" => "keep-alive, Upgrade",
                "Sec-WebSocket-Version" => "13", "Sec-WebSocket-Key" => "dGhlIHNhbXBsZSBub25jZQ==",
                "Sec-WebSocket-Protocol" => "actioncable-v1-json, actioncable-unsupported", **own_origin, **fields }
    lines = upgrade.compact.map { |name, value| "#{name}: #{value}\r\n" }
    TCPSocket.new("127.0.0.1", @port).tap { |socket| socket.write("GET #{path} HTTP/1.1\r\n#{lines.join}\r\n") }
  end

  # Status and body of the answer of the app.
  def answer(...)
    response = Net::HTTPResponse.read_new(io = Net::BufferedIO.new(request(...)))
    body = response.reading_body(io, true) { response.body }
    [response.code, body]
  end

  # Serves the app with a fake sidecar, and returns what the hand-off of a request contains.
  def handed_off(...)
    serve_with_fake
    request(...)
    fake.taken
  end

  def serve_with_fake(**options)
    fake
    serve(**options)
  end

  after { fake.close if File.exist?(link) }

  it "sends what connect found, and the keys and classes that the sidecar decides" do
    before = (Time.now.to_f * 1000).floor
    hand_off = handed_off
    expect(hand_off.tag).to eq 0x8002
    expect(hand_off.option).to match(
      "identifier" => "7", "rejected" => false, "user" => "7", "session" => nil,
      "issued_ms" => be_between(before, Time.now.to_f * 1000),
      "turbo_keys" => ["dGhlIGtleSBvZiBUdXJibw=="],
      "empty" => ["ApplicationCable::Channel", "HeartbeatChannel"], "context" => String,
      "disconnects" => true, "process" => "puma[#{puma.pid}]"
    )
    expect(hand_off.request)
      .to include("Sec-WebSocket-Protocol: actioncable-v1-json, actioncable-unsupported\r\n", "Upgrade: websocket\r\n")
    puma.written(/channels run in the sidecar: Turbo::StreamsChannel, .*; in the app: ChatChannel \(def.*RoomChannel/)
    puma.written(/Successfully upgraded to WebSocket/)
  end

  it "hands over the browser's own socket, and no thread of the app serves it" do
    serve_with_fake
    browser = request
    socket = fake.taken.socket
    socket.write("from the sidecar")
    expect(browser.readpartial(100)).to eq "from the sidecar"
    socket.close
    expect(browser.read).to eq ""
    expect_app_unharmed
  end

  it "sends the context, from which another process rebuilds the connection" do
    context = JSON.parse(handed_off("/1234567/cable?user=7", "Cookie" => "theme=dark").option["context"])
    expect(context["identified"]).to eq("current_user" => %w[json 7], "tenant" => %w[json 1234567])
    # From Rails 7.2 on, the mount path is in PATH_INFO.
    expect(context["env"].values_at("SCRIPT_NAME", "PATH_INFO").join.chomp("/")).to eq "/1234567/cable"
    expect(context["env"])
      .to include("QUERY_STRING" => "user=7", "HTTP_COOKIE" => "theme=dark", "HTTP_HOST" => "127.0.0.1:#{@port}")
  end

  it "identifies connections below the prefix of a tenant, as remote_connections does" do
    expect(handed_off("/1234567/cable?user=7").option["identifier"]).to eq "1234567:7"
  end

  it "hands over a rejected connection as rejected" do
    serve_with_fake
    request("/cable")
    expect(fake.taken.option)
      .to match("rejected" => true, "identifier" => "", "user" => nil, "session" => nil, "issued_ms" => Integer)
    puma.written(/An unauthorized connection attempt was rejected/)
    # Closed by `connect` itself.
    request("/cable?user=banned")
    expect(fake.taken.option).to include("rejected" => true, "identifier" => "")
  end

  it "answers 500 if connect raises, and hands over nothing" do
    serve_with_fake
    expect(answer("/cable?user=broken").first).to eq "500"
    puma.written(/RuntimeError \(connect failed\)/)
    expect(fake).to be_idle
  end

  it "answers 404 as Rails does to other origins, requests without one, and requests that are no WebSocket" do
    serve_with_fake
    not_found = ["404", "Page not found"]
    expect(answer("Origin" => "https://evil.example")).to eq not_found
    puma.written(%r{Request origin not allowed: https://evil\.example})
    expect(answer("Origin" => nil)).to eq not_found
    expect(answer("Upgrade" => nil)).to eq not_found
    puma.written(/Failed to upgrade to WebSocket \(REQUEST_METHOD: GET/)
    expect(answer("/other").first).to eq "404"
    expect(fake).to be_idle
  end

  it "answers 503 without a sidecar, as for Lineside's own path" do
    serve
    expect(answer).to match ["503", /sidecar unavailable: .*bundle exec lineside/]
    expect_app_unharmed
  end

  it "leaves other adapters to Rails" do
    serve_with_fake(env: { "CABLE_ADAPTER" => "async" })
    socket = request
    expect(socket.readpartial(4096)).to start_with("HTTP/1.1 101")
    expect(fake).to be_idle
    expect(puma.output).not_to include("Action Cable's channels run")
  end
end
