# frozen_string_literal: true

require "openssl"
require "timeout"

RSpec.describe "A hand-off by Puma", :app, :sidecar do
  # To a server that has given its socket away, an error of the app is a line in its log and nothing else.
  after { expect(puma.output).not_to match(/error/i) }

  it "opens the WebSocket on the app's own port" do
    start_sidecar
    serve
    browser = browse(channels: ["orders"])
    Lineside.publish!("orders", 1)
    expect(browser.data_until(1)).to eq [1]
    expect_app_unharmed
  end

  it "lets the app's own pages in, and those of no other origin" do
    start_sidecar
    serve
    browse(channels: [], headers: { "Origin" => "http://127.0.0.1:#{@port}" })
    proxied = { "X-Forwarded-Proto" => "https", "X-Forwarded-Host" => "shop.example" }
    browse(channels: [], headers: { "Origin" => "https://shop.example", **proxied })
    expect(status(Origin: "http://127.0.0.1:#{@port}", **proxied)).to eq "403"
    expect(status(Origin: "https://evil.example")).to eq "403"
  end

  it "tells the sidecar the browser's address, as Rails finds it behind proxies" do
    start_sidecar
    serve
    expect(status(Origin: "https://evil.example", "X-Forwarded-For": "203.0.113.7, 10.0.0.1")).to eq "403"
    sidecar.written(/event=request_refused peer=203\.0\.113\.7/)
    expect(status("X-Forwarded-For": "203.0.113.7", "Client-Ip": "203.0.113.8")).to eq "400"
  end

  it "hands on what the server has read behind the request" do
    start_sidecar
    serve
    browser = browse(channels: ["orders"], at_once: true)
    Lineside.publish!("orders", 1)
    expect(browser.data_until(1)).to eq [1]
  end

  it "leaves the sockets open when every process of the app is killed" do
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

  it "answers 503 without a sidecar, and serves the rest" do
    serve
    response = upgrade
    expect([response.code, response["retry-after"]]).to eq %w[503 5]
    expect(response.body).to include("bundle exec lineside")
    expect_app_unharmed
    puma.written(/cannot hand a browser over: .*bundle exec lineside/)
  end

  it "answers 503 when the sidecar is full, until a browser leaves" do
    start_sidecar("LINESIDE_CONNECTIONS_MAX" => "2")
    serve
    first, = Array.new(2) { browse(channels: []) }
    response = upgrade
    expect([response.code, response["retry-after"].to_i]).to match ["503", be_positive]
    expect_app_unharmed
    first.close
    eventually("a place for the next") { place? }
  end

  def place?
    browse(channels: [])
  rescue RuntimeError
    false
  end

  it "answers 503 when the sidecar is stopped, which then never serves that socket" do
    start_sidecar
    serve
    sidecar.signal(:STOP)
    socket = TCPSocket.new("127.0.0.1", @port)
    socket.write("GET /lineside HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
                 "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
    # To its end: the descriptor that is still under way holds nothing open.
    answer = Timeout.timeout(Eventually::PATIENCE_SECONDS) { socket.read }
    expect(answer).to match(%r{\AHTTP/1.1 503 .*retry-after: 5\r\n.*did not answer in time\n\z}m)
    sidecar.signal(:CONT)
    browse(channels: [])
    expect_app_unharmed
  end

  it "leaves no descriptor behind in ten thousand hand-offs, on either side" do
    start_sidecar
    serve
    count = -> { [puma.pid, sidecar.pid].map { |pid| descriptors(pid) } }
    expect_app_unharmed
    browse(channels: []).close
    browsers.clear
    before = eventually("a quiet state") { count.call.then { |now| now if now == count.call } }
    400.times { Array.new(25) { Browser.new(@port) }.each(&:close) }
    eventually("as few descriptors as before, #{before}") { count.call.zip(before).all? { |now, then_| now <= then_ } }
  end

  it "refuses sockets on which Puma itself holds TLS, with the remedy" do
    key = OpenSSL::PKey::RSA.new(2048)
    File.write("#{@folder}/key.pem", key.to_pem)
    File.write("#{@folder}/cert.pem", certificate(key).to_pem)
    start_sidecar
    serve("-b", "ssl://127.0.0.1:0?key=#{@folder}/key.pem&cert=#{@folder}/cert.pem&verify_mode=none")
    @port = Integer(puma.written(%r{Listening on ssl://127\.0\.0\.1:(\d+)})[1])
    @tls = { use_ssl: true, verify_mode: OpenSSL::SSL::VERIFY_NONE }
    response = upgrade
    expect([response.code, response.body]).to match ["501", /let a proxy hold TLS/]
    puma.written(/cannot hand a browser over: this server holds TLS itself.*route this path to the sidecar's own port/)
  end

  def certificate(key)
    OpenSSL::X509::Certificate.new.tap do |it|
      it.subject = it.issuer = OpenSSL::X509::Name.parse("/CN=127.0.0.1")
      it.not_before = Time.now - 60
      it.not_after = Time.now + 3600
      it.public_key = key.public_key
      it.sign(key, OpenSSL::Digest.new("SHA256"))
    end
  end
end
