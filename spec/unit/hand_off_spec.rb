# frozen_string_literal: true

require "rack/mock"
require "rails"
require "socket"
require "tmpdir"
require "lineside/engine"

RSpec.describe Lineside::HandOff do
  subject(:middleware) { described_class.new(->(env) { [200, {}, [env["PATH_INFO"]]] }, [true, nil]) }

  # Rack environment of a WebSocket request.
  def request(path = "/lineside", **changes)
    Rack::MockRequest.env_for("http://shop.example#{path}", "HTTP_UPGRADE" => "WebSocket", **changes)
  end

  # Status of a request that was passed on.
  def pass = eq(200)

  def status(env) = middleware.call(env).first

  it "passes on requests other than WebSocket requests for its path" do
    expect(status(request("/other"))).to pass
    expect(status(request("/lineside/token"))).to pass
    expect(status(request("/x/lineside"))).to pass
    expect(status(request(method: "POST"))).to pass
    expect(status(Rack::MockRequest.env_for("/lineside"))).to pass
    expect(status(request("HTTP_UPGRADE" => "h2c"))).to pass
  end

  it "answers 426 if a proxy removed the Upgrade header" do
    key = { "HTTP_SEC_WEBSOCKET_KEY" => "dGhlIHNhbXBsZSBub25jZQ==" }
    code, headers, (body,) = middleware.call(Rack::MockRequest.env_for("/lineside", key))
    expect([code, *headers.values_at("upgrade", "sec-websocket-version")]).to eq [426, "websocket", "13"]
    expect([body, log.string]).to all(include("let the proxy pass the Upgrade and Connection headers"))
    expect(status(Rack::MockRequest.env_for("/other", key))).to pass
  end

  it "sends no cookie other than the identity cookie" do
    head = ->(cookie) { described_class::Request.new(request("HTTP_COOKIE" => cookie)).bytes }
    expect(head.call("_shop_session=secret; lineside=a.b-c_d; x=lineside=z"))
      .to include("\r\nCookie: lineside=a.b-c_d\r\n")
    expect(head.call("lineside_1f=a; lineside2=b; lineside_=c"))
      .to include("\r\nCookie: lineside_1f=a; lineside_=c\r\n")
    expect(head.call("_shop_session=secret; xlineside=a")).not_to match(/cookie|secret/i)
    # Duplicates are sent, however the server joins header fields, because the sidecar rejects them.
    expect(head.call("lineside=a; b=c;lineside=d,lineside=e"))
      .to include("\r\nCookie: lineside=a; lineside=d; lineside=e\r\n")
  end

  it "sends the identity cookie beside cookies of any bytes" do
    latin1 = "name=J\xFCrgen; lineside=a.b-c_d; \xFF"
    [latin1, latin1.b, "name=Jürgen; lineside=a.b-c_d"].each do |cookie|
      env = request("HTTP_COOKIE" => cookie, "HTTP_ORIGIN" => "http://\xFF", "QUERY_STRING" => "x=\xFF")
      expect(described_class::Request.new(env).bytes).to include("\r\nCookie: lineside=a.b-c_d\r\n")
    end
  end

  it "answers 501 with a remedy if the server does not support rack.hijack" do
    code, headers, (body,) = middleware.call(request)
    expect([code, headers.keys]).to eq [501, %w[content-type cache-control]]
    expect(body).to include("rack.hijack", "Puma", "sidecar's own port")
    expect(log.string).to include("WebSocket hand-off failed: this server does not support rack.hijack")
  end

  it "answers 501 if rack.hijack raises NotImplementedError, as in WEBrick" do
    Dir.mktmpdir do |folder|
      Lineside.config.link = "unix:#{folder}/link.sock"
      UNIXServer.open("#{folder}/link.sock") do
        partial = -> { raise NotImplementedError, "only partial hijack is supported" }
        expect(status(request.merge("rack.hijack" => partial))).to eq 501
      end
    end
  end

  it "hijacks no socket that it cannot hand over" do
    untouched = -> { raise "hijacked" }
    tls = request.merge("rack.hijack" => untouched, "puma.socket" => Object.new)
    expect(status(tls)).to eq 501
    Lineside.config.link = "unix:#{__dir__}/absent.sock"
    expect(status(request.merge("rack.hijack" => untouched))).to eq 503
  end

  describe "with a sidecar that answers" do
    # Hands a socket to a fake sidecar that answers with the bytes.
    # @return [Array] response status, whether the app closed the socket, and the bytes that the browser received
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

    it "sends the browser nothing after the sidecar has accepted the socket" do
      expect(answered(frame(144))).to eq [-1, true, ""]
    end

    it "sends an option of the frame in front of the body" do
      Dir.mktmpdir do |folder|
        Lineside.config.link = "unix:#{folder}/link.sock"
        UNIXServer.open("#{folder}/link.sock") do |server|
          socket, = UNIXSocket.pair
          sidecar = Thread.new { server.accept.then { |link| link.recvmsg.first.tap { link.write(frame(144)) } } }
          answer = middleware.answer(request("rack.hijack" => -> { socket })) { [0x8002, "{\u00e9}"] }
          options = [0x8002, 4].pack("n2") + "{\u00e9}".b
          expect(answer.first).to eq(-1)
          expect(sidecar.value.byteslice(4, 4 + options.bytesize)).to eq [16, 0, 8].pack("C C n") + options
        end
      end
    end

    it "asks for no option if the socket cannot be handed over" do
      untouched = -> { raise "hijacked" }
      [{}, { "rack.hijack" => untouched, "puma.socket" => Object.new }].each do |fields|
        expect(middleware.answer(request(**fields)) { raise "asked" }.first).to eq 501
      end
    end

    it "sends no option above 65,531 bytes" do
      client = described_class::Client.allocate
      expect { client.hand_over(nil, [], [1, "x" * 65_532]) }.to raise_error(ArgumentError, /option of 65532 bytes/)
    end

    it "answers 503 if the sidecar refuses, closes, or sends an unknown frame" do
      fault = frame(134, "\0kit is full")
      { fault => /answered "it is full"/, "" => /did not answer/, frame(134) => /answered ""/,
        frame(9) => /of kind 9/ }.each do |bytes, reason|
        status, closed, answer = answered(bytes)
        expect([status, closed]).to eq [-1, true]
        expect(answer).to match(%r{\AHTTP/1.1 503 Service Unavailable\r\n.*retry-after: 5\r\n}m).and match(reason)
        expect(answer).to include("cache-control: no-store\r\n")
      end
    end
  end

  it "logs the path of the link, and hides it from the browser" do
    Lineside.config.link = "unix:#{__dir__}/absent.sock"
    body = middleware.call(request.merge("rack.hijack" => -> { raise "hijacked" })).last.first
    expect(body).to eq "sidecar unavailable: No such file or directory; wait some seconds if Puma's plugin or a " \
                       "Procfile starts it, otherwise start it with `bundle exec lineside`\n"
    expect(log.string).to include("#{__dir__}/absent.sock")
  end

  it "logs the names of users, and hides them from the browser" do
    Dir.mktmpdir do |folder|
      Lineside.config.link = "unix:#{folder}/l.sock"
      UNIXServer.open("#{folder}/l.sock") do
        own = Process.euid
        allow(Process).to receive(:euid).and_return(65_534)
        body = middleware.call(request.merge("rack.hijack" => -> { raise "hijacked" })).last.first
        expect(body).to eq "sidecar unavailable: it runs as another user\n"
        owner = Etc.getpwuid(own).name
        expect(log.string).to include("run the app as user #{owner} too, or the sidecar as user nobody")
      end
    end
  end

  it "logs at most one line a second" do
    5.times { status(request) }
    expect(log.string.lines.size).to eq 1
  end

  describe Lineside::HandOff::Request do
    def bytes(env) = described_class.new(env).bytes

    it "sends only the header fields of an upgrade" do
      env = request("/lineside?token=a%20b&x", "HTTP_HOST" => "shop.example", "HTTP_COOKIE" => "secret",
                                               "HTTP_SEC_WEBSOCKET_KEY" => "k", "HTTP_X_FORWARDED_HOST" => "evil")
      expect(bytes(env)).to eq "GET /lineside?token=a%20b&x HTTP/1.1\r\nHost: shop.example\r\nUpgrade: WebSocket\r\n" \
                               "Sec-WebSocket-Key: k\r\n\r\n"
    end

    it "sends the path without the relative URL root" do
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

    it "recognizes the path below a root that begins like it" do
      %w[/line /lineside].each do |root|
        settings = instance_double(Rails::Application::Configuration, relative_url_root: root)
        allow(Rails).to receive(:application).and_return(instance_double(Rails::Application, config: settings))
        expect(described_class.ours?(request("/lineside", "SCRIPT_NAME" => root))).to be true
        expect(described_class.ours?(request("#{root}/lineside"))).to be true
        expect(described_class.ours?(request(root))).to be(root == "/lineside")
      end
    end

    it "sends the origin that browsers see behind proxies" do
      origin = ->(**fields) { described_class.new(request("HTTP_HOST" => "a", **fields.transform_keys(&:to_s))).origin }
      expect(origin.call).to eq "http://a"
      expect(origin.call(HTTPS: "on")).to eq "https://a"
      shop = { HTTP_X_FORWARDED_HOST: "shop.example:8443" }
      %w[https wss HTTPS https,http].each do |scheme|
        expect(origin.call(**shop, HTTP_X_FORWARDED_PROTO: scheme)).to eq "https://shop.example:8443"
      end
      expect(origin.call(**shop, HTTP_X_FORWARDED_PROTO: "ws")).to eq "http://shop.example:8443"
      expect(origin.call(HTTP_X_FORWARDED_SSL: "on")).to eq "https://a"
      expect(origin.call(HTTP_X_FORWARDED_HOST: "b, c", HTTP_X_FORWARDED_PROTO: "https, http")).to eq "https://b"
      expect(origin.call(HTTP_FORWARDED: "proto=https;host=shop.example")).to eq "https://shop.example"
      expect(origin.call(HTTP_HOST: "no host")).to eq ""
    end

    it "sends the values of the outermost proxy that the app trusts" do
      env = request("REMOTE_ADDR" => "10.0.0.2", "HTTP_X_FORWARDED_FOR" => "203.0.113.7, 10.0.0.1",
                    "HTTP_X_FORWARDED_HOST" => "evil.example, shop.example, inner.example",
                    "HTTP_X_FORWARDED_PROTO" => "http, https, http")
      ActionDispatch::RemoteIp.new(->(it) { it }).call(env)
      expect([described_class.new(env).peer, described_class.new(env).origin])
        .to eq %w[203.0.113.7 https://shop.example]
    end

    it "sends a request whose addresses contradict each other or have a zone" do
      spoofed = { "HTTP_CLIENT_IP" => "203.0.113.8", "HTTP_X_FORWARDED_FOR" => "%s, 203.0.113.7" }
      [spoofed, { "REMOTE_ADDR" => "fe80::1%eth0", "HTTP_X_FORWARDED_FOR" => "fe80::2%eth0" }].each do |fields|
        env = request(**fields)
        ActionDispatch::RemoteIp.new(->(it) { it }, true, nil).call(env)
        expect(described_class.new(env).peer).to be_a String
      end
    end

    it "sends the bytes that Puma has read after the request" do
      require "puma"
      require "puma/server"
      client = Puma::Client.allocate.tap { |it| it.instance_variable_set(:@buffer, "\x81\xFF".b) }
      method = client.method(client.respond_to?(:full_hijack) ? :full_hijack : :call)
      # Puma 5 and 6, 7, and 8.
      [client, method, method.to_proc].each do |hijack|
        expect(bytes(request.merge("rack.hijack" => hijack))).to end_with("\r\n\r\n\x81\xFF".b)
      end
      [-> {}, proc {}, method(:puts), :upcase.to_proc, nil].each do |hijack|
        expect(bytes(request.merge("rack.hijack" => hijack))).to end_with("\r\n\r\n")
      end
    end
  end
end
