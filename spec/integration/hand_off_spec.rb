# frozen_string_literal: true

require "openssl"

RSpec.describe "Hand-off from Puma", :app, :sidecar do
  # After a hijack, Puma only logs an error of the app.
  after { expect(puma.output).not_to match(/error/i) }

  it "opens the WebSocket on the app's port" do
    start_sidecar
    serve
    browser = browse(channels: ["orders"])
    Lineside.publish!("orders", 1)
    expect(browser.data_until(1)).to eq [1]
    expect_app_unharmed
  end

  it "opens the WebSocket at the path that the page names, below any root" do
    start_sidecar
    ["", "/line", "/lineside"].each do |root|
      serve(env: { "RAILS_RELATIVE_URL_ROOT" => root.empty? ? nil : root })
      ["", "/1234567"].each do |tenant|
        visitor = Visitor.new(@port)
        visitor.visit("#{root}#{tenant}/page")
        path = visitor.meta("lineside-url")
        expect(path).to eq "#{root}#{tenant}/lineside"
        browse(channels: [], path:)
      end
      puma.stop
    end
  end

  it "accepts the app's own origin only" do
    start_sidecar
    serve
    browse(channels: [], headers: { "Origin" => "http://127.0.0.1:#{@port}" })
    proxied = { "X-Forwarded-Proto" => "https", "X-Forwarded-Host" => "shop.example" }
    browse(channels: [], headers: { "Origin" => "https://shop.example", **proxied })
    # Two proxies in a row, one of which writes the scheme of the WebSocket.
    twice = { "X-Forwarded-Proto" => "wss,http", "X-Forwarded-Host" => "shop.example, shop.example" }
    browse(channels: [], headers: { "Origin" => "https://shop.example", **twice })
    expect(status(Origin: "http://127.0.0.1:#{@port}", **proxied)).to eq "403"
    expect(status(Origin: "https://evil.example")).to eq "403"
  end

  it "passes the browser's address behind proxies to the sidecar" do
    start_sidecar
    serve
    expect(status(Origin: "https://evil.example", "X-Forwarded-For": "203.0.113.7, 10.0.0.1")).to eq "403"
    sidecar.written(/event=request_refused peer=203\.0\.113\.7/)
    # Addresses are only logged.
    contradiction = { "X-Forwarded-For" => "fe80::1%eth0, 203.0.113.7", "Client-Ip" => "203.0.113.8" }
    browse(channels: [], headers: contradiction)
  end

  it "passes on bytes that the server has read after the request" do
    start_sidecar
    serve
    browser = browse(channels: ["orders"], at_once: true)
    Lineside.publish!("orders", 1)
    expect(browser.data_until(1)).to eq [1]
  end

  it "passes on the identity cookie beside cookies of any bytes" do
    start_sidecar
    serve
    identity = Lineside::Native.sign_identity(Lineside.config.secret, sub: "7", sid: nil, seconds: 60)
    fields = { "Origin" => "http://127.0.0.1:#{@port}", "Cookie" => "name=J\xFCrgen; lineside=#{identity}".b }
    browsers << Browser.new(@port, headers: fields)
    expect(browsers.last.welcome["user"]).to eq "7"
  end

  it "keeps the sockets open when every process of the app is killed" do
    start_sidecar
    serve(workers: 2)
    browser_list = Array.new(6) { browse(channels: ["orders"]) }
    workers = children(puma.pid)
    expect(workers.size).to eq 2
    [puma.pid, *workers].each { |pid| Process.kill(:KILL, pid) }
    puma.wait
    Lineside.publish!("orders", "after")
    browser_list.each { |browser| expect(browser.data_until("after").last).to eq "after" }
  end

  it "answers 503 without a sidecar, and serves other requests" do
    serve
    response = upgrade
    expect([response.code, response["retry-after"]]).to eq %w[503 5]
    expect(response.body).to include("bundle exec lineside")
    expect_app_unharmed
    puma.written(/WebSocket hand-off failed: .*bundle exec lineside/)
  end

  it "answers 503 when the sidecar is full, until a browser disconnects" do
    start_sidecar("LINESIDE_CONNECTIONS_MAX" => "2")
    serve
    first, = Array.new(2) { browse(channels: []) }
    response = upgrade
    expect([response.code, response["retry-after"].to_i]).to match ["503", be_positive]
    expect_app_unharmed
    first.close
    eventually("a free connection slot") { accepted? }
  end

  def accepted?
    browse(channels: [])
  rescue RuntimeError
    false
  end

  it "answers 503 when the sidecar is stopped, and closes the socket" do
    start_sidecar
    serve
    sidecar.signal(:STOP)
    socket = TCPSocket.new("127.0.0.1", @port)
    socket.write("GET /lineside HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    # Reads to the end: the descriptor that is still in transit does not keep the connection open.
    reading = Thread.new { socket.read }
    eventually("the answer") { reading.join(0.1) }
    expect(reading.value).to match(%r{\AHTTP/1.1 503 .*retry-after: 5\r\n.*did not answer in time\n\z}m)
    sidecar.signal(:CONT)
    browse(channels: [])
    expect_app_unharmed
  end

  it "leaks no file descriptor in 1,000 hand-offs" do
    start_sidecar
    serve
    count = -> { [puma.pid, sidecar.pid].map { |pid| descriptors(pid) } }
    expect_app_unharmed
    browse(channels: []).close
    browsers.clear
    before = eventually("a quiet state") { count.call.then { |now| now if now == count.call } }
    40.times { Array.new(25) { Browser.new(@port) }.each(&:close) }
    eventually("as few descriptors as before, #{before}") { count.call.zip(before).all? { |now, then_| now <= then_ } }
  end

  it "answers 501 with a remedy if Puma itself terminates TLS" do
    start_sidecar
    serve_tls
    response = upgrade
    expect([response.code, response.body]).to match ["501", /let a proxy terminate TLS/]
    puma.written(/hand-off failed: this server terminates TLS itself.*route this path to the sidecar's own port/)
  end
end
