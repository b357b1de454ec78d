# frozen_string_literal: true

# Tests the nginx configuration of docs/deploy.md.
RSpec.describe "Behind nginx", :app, :proxy, :sidecar do
  # Address of a remote browser, reserved for documentation (RFC 5737).
  let(:forwarded) { { "X-Forwarded-For": "203.0.113.7" } }

  context "through the app" do
    it "opens the WebSocket, which stays open when the app is killed" do
      start_sidecar
      serve_behind_nginx
      browser = browse(channels: ["orders"], at_once: true, headers: own_origin)
      Process.kill(:KILL, puma.pid)
      puma.wait
      Lineside.publish!("orders", 1)
      expect(browser.data_until(1)).to eq [1]
    end

    it "passes the browser's address to the sidecar" do
      start_sidecar
      serve_behind_nginx
      expect(status(Origin: "https://evil.example", **forwarded)).to eq "403"
      sidecar.written(/event=request_refused peer=203\.0\.113\.7/)
    end

    it "answers 403 and logs a remedy if it passes no Host header" do
      start_sidecar
      serve_behind_nginx { |blocks| blocks.sub(/^.*proxy_set_header Host .*\n/, "") }
      expect_refused_with_remedy
    end

    it "works below a sub-path" do
      start_sidecar
      serve("-b", "tcp://127.0.0.1:0", env: { "RAILS_RELATIVE_URL_ROOT" => "/shop" })
      @port = nginx(app: "127.0.0.1:#{@port}")
      visitor = Visitor.new(@port)
      visitor.visit("/shop/page")
      expect(visitor.meta("lineside-url")).to eq "/shop/lineside"
      browse(channels: [], path: visitor.meta("lineside-url"), headers: own_origin)
    end
  end

  context "directly to the sidecar" do
    it "opens the WebSocket without the app" do
      start_sidecar
      route
      browser = browse(channels: ["orders"], at_once: true, headers: own_origin)
      Lineside.publish!("orders", 1)
      expect(browser.data_until(1)).to eq [1]
    end

    it "passes the browser's address to the sidecar" do
      start_sidecar
      route
      expect(status(Origin: "https://evil.example", **forwarded)).to eq "403"
      sidecar.written(/event=request_refused peer=203\.0\.113\.7/)
    end

    it "answers 403 and logs a remedy if it passes no Host header" do
      start_sidecar
      route { |blocks| blocks.gsub(/^.*proxy_set_header Host .*\n/, "") }
      expect_refused_with_remedy
    end

    it "works below a sub-path" do
      start_sidecar
      route("A sub-path")
      browse(channels: [], path: "/shop/lineside", headers: own_origin)
    end

    it "keeps an idle connection open with a heartbeat below the time-out" do
      start_sidecar("LINESIDE_HEARTBEAT_SECONDS" => "1")
      route { |blocks| blocks.gsub("proxy_pass", "proxy_read_timeout 3s; proxy_pass") }
      browser = browse(channels: ["orders"])
      # The time-out would have elapsed before the fourth ping.
      4.times { browser.receive_ping }
      Lineside.publish!("orders", 1)
      expect(browser.data_until(1)).to eq [1]
    end

    it "closes an idle connection otherwise, and the page misses nothing" do
      start_sidecar("LINESIDE_HEARTBEAT_SECONDS" => "60")
      route { |blocks| blocks.gsub("proxy_pass", "proxy_read_timeout 1s; proxy_pass") }
      browser = browse(channels: ["orders"])
      expect { browser.receive("message") }.to raise_error(EOFError)
      Lineside.publish!("orders", 1)
      again = browse(channels: ["orders"], after: browser.welcome["cursor"])
      expect([again.welcome["recovered"], again.data_until(1)]).to eq [true, [1]]
    end
  end

  # Starts the app on a Unix socket, and nginx in front of it.
  def serve_behind_nginx(&)
    serve("-b", "tcp://127.0.0.1:0", "-b", "unix://#{@folder}/puma.sock")
    @port = nginx(app: "unix:#{@folder}/puma.sock", &)
  end

  # Starts nginx in front of the sidecar, without an app.
  def route(heading = "nginx", &)
    @port = nginx(app: "unix:#{@folder}/nobody.sock", sidecar: "127.0.0.1:#{@port}", routes: [heading], &)
  end

  def own_origin = { "Origin" => "http://127.0.0.1:#{@port}" }

  def expect_refused_with_remedy
    expect(status(Origin: "http://127.0.0.1:#{@port}", Host: "127.0.0.1:#{@port}")).to eq "403"
    sidecar.written(/event=request_refused .*this server is http.*let the proxy pass Host and X-Forwarded-Proto/)
  end
end
