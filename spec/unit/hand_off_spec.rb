# frozen_string_literal: true

require "rack/mock"
require "rails"
require "socket"
require "tmpdir"
require "lineside/engine"

RSpec.describe Lineside::HandOff do
  subject(:middleware) { described_class.new(->(env) { [200, {}, [env["PATH_INFO"]]] }, [true, nil]) }

  # A request of Rack that asks for the WebSocket.
  def request(path = "/lineside", **changes)
    Rack::MockRequest.env_for("http://shop.example#{path}", "HTTP_UPGRADE" => "WebSocket", **changes)
  end

  # What passes through.
  def pass = eq(200)

  def status(env) = middleware.call(env).first

  it "lets everything pass that asks for no WebSocket at its path" do
    expect(status(request("/other"))).to pass
    expect(status(request("/lineside/token"))).to pass
    expect(status(request("/x/lineside"))).to pass
    expect(status(request(method: "POST"))).to pass
    expect(status(Rack::MockRequest.env_for("/lineside"))).to pass
    expect(status(request("HTTP_UPGRADE" => "h2c"))).to pass
  end

  it "says what is missing where a proxy has taken the upgrade away" do
    key = { "HTTP_SEC_WEBSOCKET_KEY" => "dGhlIHNhbXBsZSBub25jZQ==" }
    code, headers, (body,) = middleware.call(Rack::MockRequest.env_for("/lineside", key))
    expect([code, headers["upgrade"]]).to eq [426, "websocket"]
    expect([body, log.string]).to all(include("let the proxy in between pass Upgrade and Connection on"))
    expect(status(Rack::MockRequest.env_for("/other", key))).to pass
  end

  it "passes on the one cookie that says whose browser it is" do
    head = ->(cookie) { described_class::Request.new(request("HTTP_COOKIE" => cookie)).bytes }
    expect(head.call("_shop_session=secret; lineside=a.b-c_d; x=lineside=z"))
      .to include("\r\nCookie: lineside=a.b-c_d\r\n")
    expect(head.call("_shop_session=secret; xlineside=a")).not_to match(/cookie|secret/i)
    # Twice, in whichever way a server joins header fields: the sidecar is to see that.
    expect(head.call("lineside=a; b=c;lineside=d,lineside=e"))
      .to include("\r\nCookie: lineside=a; lineside=d; lineside=e\r\n")
  end

  it "refuses with a remedy where the server does not hand out its sockets" do
    code, headers, (body,) = middleware.call(request)
    expect([code, headers.keys]).to eq [501, ["content-type"]]
    expect(body).to include("rack.hijack", "Puma", "sidecar's own port")
    expect(log.string).to include("cannot hand a browser over: this server does not hand out its sockets")
  end

  it "does so too where the server says it only when asked, as WEBrick does" do
    Dir.mktmpdir do |folder|
      Lineside.config.link = "unix:#{folder}/link.sock"
      UNIXServer.open("#{folder}/link.sock") do
        partial = -> { raise NotImplementedError, "only partial hijack is supported" }
        expect(status(request.merge("rack.hijack" => partial))).to eq 501
      end
    end
  end

  it "hijacks nothing that it cannot hand over" do
    untouched = -> { raise "hijacked" }
    tls = request.merge("rack.hijack" => untouched, "puma.socket" => Object.new)
    expect(status(tls)).to eq 501
    Lineside.config.link = "unix:#{__dir__}/absent.sock"
    expect(status(request.merge("rack.hijack" => untouched))).to eq 503
    spoofed = { "HTTP_CLIENT_IP" => "203.0.113.8", "HTTP_X_FORWARDED_FOR" => "%s, 203.0.113.7" }
    expect(status(request(**spoofed).merge("rack.hijack" => untouched))).to eq 400
  end

  describe "with a sidecar that answers" do
    # Hands a socket over to a sidecar that answers with these bytes.
    # @return [Array] the status for the server, and what the browser reads
    def answered(bytes)
      Dir.mktmpdir do |folder|
        Lineside.config.link = "unix:#{folder}/link.sock"
        UNIXServer.open("#{folder}/link.sock") do |server|
          browser, socket = UNIXSocket.pair
          sidecar = Thread.new { server.accept.tap { |link| link.recvmsg && link.write(bytes) }.close }
          status = status(request.merge("rack.hijack" => -> { socket }))
          sidecar.join
          [status, socket.closed?, browser.read]
        end
      end
    end

    def frame(kind, body = "") = [4 + body.bytesize, kind, 0, 0].pack("N C C n") + body

    it "says nothing to the browser once the sidecar has taken it" do
      expect(answered(frame(144))).to eq [-1, true, ""]
    end

    it "answers 503 where the sidecar says why not, ends, or says what nobody understands" do
      fault = frame(134, "\0kit is full")
      { fault => /answered "it is full"/, "" => /did not answer/, frame(134) => /answered ""/,
        frame(9) => /of the kind 9/ }.each do |bytes, reason|
        status, closed, answer = answered(bytes)
        expect([status, closed]).to eq [-1, true]
        expect(answer).to match(%r{\AHTTP/1.1 503 Service Unavailable\r\n.*retry-after: 5\r\n}m).and match(reason)
      end
    end
  end

  it "tells the log where the link is, and the browser nothing of it" do
    Lineside.config.link = "unix:#{__dir__}/absent.sock"
    body = middleware.call(request.merge("rack.hijack" => -> { raise "hijacked" })).last.first
    expect(body).to eq "the sidecar is not to be had: No such file or directory; start it with `bundle exec lineside`\n"
    expect(log.string).to include("#{__dir__}/absent.sock")
  end

  it "says so once a second at most" do
    5.times { status(request) }
    expect(log.string.lines.size).to eq 1
  end

  describe Lineside::HandOff::Request do
    def bytes(env) = described_class.new(env).bytes

    it "tells the head of an upgrade, and nothing else of the request" do
      env = request("/lineside?token=a%20b&x", "HTTP_HOST" => "shop.example", "HTTP_COOKIE" => "secret",
                                               "HTTP_SEC_WEBSOCKET_KEY" => "k", "HTTP_X_FORWARDED_HOST" => "evil")
      expect(bytes(env)).to eq "GET /lineside?token=a%20b&x HTTP/1.1\r\nHost: shop.example\r\nUpgrade: WebSocket\r\n" \
                               "Sec-WebSocket-Key: k\r\n\r\n"
    end

    it "tells the sidecar's own path also below a relative URL root" do
      env = request("/lineside", "SCRIPT_NAME" => "/shop")
      expect(described_class.ours?(env)).to be true
      expect(bytes(env)).to start_with("GET /lineside HTTP/1.1\r\n")
      settings = instance_double(Rails::Application::Configuration, relative_url_root: "/shop")
      app = instance_double(Rails::Application, config: settings)
      allow(Rails).to receive(:application).and_return(app)
      expect(described_class.ours?(request("/shop/lineside"))).to be true
      expect(described_class.ours?(request("/lineside"))).to be true
      expect(described_class.ours?(request("/other/lineside"))).to be false
    end

    it "tells the app's origin as Rails has it" do
      env = request("HTTP_HOST" => "a", "HTTP_X_FORWARDED_HOST" => "shop.example:8443",
                    "HTTP_X_FORWARDED_PROTO" => "https")
      expect(described_class.new(env).origin).to eq "https://shop.example:8443"
    end
  end
end
