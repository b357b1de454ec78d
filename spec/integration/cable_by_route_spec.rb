# frozen_string_literal: true

require "active_support"
require "active_support/message_verifier"

# Action Cable behind nginx that sends its path to the sidecar, past the app, with the configuration of docs/deploy.md.
RSpec.describe "Action Cable by route", :app, :proxy, :sidecar do
  dummy = File.join(ROOT, "spec/dummy")
  command = [RbConfig.ruby, "-I", Processes::LIBRARY, File.join(ROOT, "gem/exe/lineside"), "serve"]

  # Starts the sidecar with the gem's command, which boots the app in the folder.
  define_method(:launch) do |folder = dummy, **env|
    defaults = { "LINESIDE_BIND" => "127.0.0.1:0", "LINESIDE_ADMIN_BIND" => "none", "RAILS_ENV" => "development",
                 "LINESIDE_CABLE_IDENTITY" => "required" }
    @sidecar = start([publisher_env.merge(defaults, env), *command], chdir: folder)
    @sidecar_port = Integer(sidecar.written(/event=listening .*bind=127\.0\.0\.1:(\d+)/)[1])
  end

  # Starts the app, and nginx in front of both.
  def serve_behind_nginx(workers: 0, **env)
    serve(workers:, env: { "CABLE_EVENTS" => events, **env })
    @app_port = @port
    @port = nginx(app: "127.0.0.1:#{@port}", sidecar: "127.0.0.1:#{@sidecar_port}",
                  routes: ["Action Cable past the app"])
  end

  def events = "#{@folder}/events"

  def sign_in(user)
    Visitor.new(@port).tap do |visitor|
      visitor.get("/sign_in/#{user}?session=7")
      visitor.visit("/answers/plain")
    end
  end

  def cable(visitor = nil)
    headers = visitor ? { "Cookie" => visitor.cookies.map { |pair| pair.join("=") }.join("; ") } : {}
    CableBrowser.new(@port, headers:).tap { |browser| browsers << browser }
  end

  def connected(visitor) = cable(visitor).tap { |it| expect(it.receive).to eq("type" => "welcome") }

  def turbo(name, key: "the key of Turbo", **options)
    verifier = ActiveSupport::MessageVerifier.new(key, digest: "SHA256", serializer: JSON)
    CableBrowser.identifier("Turbo::StreamsChannel", signed_stream_name: verifier.generate(name, **options))
  end

  def rejected(identifier) = { "identifier" => identifier, "type" => "reject_subscription" }

  # Broadcasts in the app.
  def broadcast(stream, html) = Visitor.new(@app_port).post("/broadcasts/#{stream}", csrf: nil, html:)

  let(:unauthorized) { { "type" => "disconnect", "reason" => "unauthorized", "reconnect" => false } }

  it "serves signed-in pages with Turbo's streams, and never asks the app" do
    launch
    serve_behind_nginx
    browser = connected(sign_in("ada"))
    board = turbo("board")
    expect(browser.subscribe(board)).to eq("identifier" => board, "type" => "confirm_subscription")
    broadcast("other", "not this")
    broadcast("board", "<turbo-stream>")
    expect(browser.receive).to eq("identifier" => board, "message" => "<turbo-stream>")
    expect(File.exist?(events)).to be false
    expect(File.read("/proc/#{sidecar.pid}/environ")).not_to include(["the key of Turbo"].pack("m0"))
  end

  it "refuses pages of nobody, names of other keys, and channels of the app" do
    launch
    serve_behind_nginx
    nobody = cable
    expect([nobody.receive, nobody.receive_close]).to eq [unauthorized, 1000]
    browser = connected(sign_in("ada"))
    [turbo("board", key: "another key"), turbo("board", expires_at: Time.now - 60), turbo("board", purpose: :login),
     CableBrowser.identifier("RoomChannel"), CableBrowser.identifier("HeartbeatChannel")].each do |identifier|
      expect(browser.subscribe(identifier)).to eq rejected(identifier)
    end
    token = Lineside.channel_token("orders", user: "ada")
    orders = browser.confirm("Lineside", token:)
    broadcast("board", "not this")
    Lineside.publish!("orders", 1)
    expect(browser.receive).to eq("identifier" => orders, "message" => 1)
    sidecar.written(/event=channel_needs_the_app channel=RoomChannel/)
  end

  it "ends connections at the sign-out, and refuses the cookie from then on" do
    launch
    serve_behind_nginx
    ada = sign_in("ada")
    browser = connected(ada)
    other = connected(sign_in("grace"))
    [browser, other].each { |it| it.subscribe(turbo("board")) }
    Lineside.disconnect!("ada", session: "7")
    broadcast("board", "later")
    expect(browser.receive).to eq("type" => "disconnect", "reason" => "remote", "reconnect" => true)
    again = cable(ada)
    expect([again.receive, again.receive_close]).to eq [unauthorized, 1000]
    expect(other.next_message).to eq "later"
  end

  # Ends connections in the app, in Rails' own way.
  def disconnect_remotely(user, **options)
    Visitor.new(@app_port).post("/remote_disconnections/#{user}", csrf: nil, **options)
  end

  it "ends connections of a user by remote_connections and ActionCable.server.disconnect" do
    launch
    serve_behind_nginx(**by_route)
    ada = sign_in("ada")
    grace = connected(sign_in("grace"))
    [{}, { reconnect: true }, { reconnect: false }].each do |options|
      browser = connected(ada)
      browser.subscribe(turbo("board"))
      # By route, a connection is identified by its user alone.
      disconnect_remotely("ada", tenant: "1234567")
      broadcast("board", "still")
      expect(browser.next_message).to eq "still"
      disconnect_remotely("ada", **options)
      expect(browser.receive).to eq("type" => "disconnect", "reason" => "remote",
                                    "reconnect" => options.fetch(:reconnect, true))
      browser.receive_close
    end
    connected(ada)
    grace.subscribe(turbo("board"))
    broadcast("board", "all")
    expect(grace.next_message).to eq "all"
  end

  it "has Rails' identifier of a record in the cookie, if cable_identity is set" do
    printed = lambda do |identity|
      ruby(<<~RUBY, env: { **publisher_env, "RAILS_ENV" => "development", "LINESIDE_CABLE_IDENTITY" => identity })
        require #{File.join(ROOT, 'spec/dummy/config/environment').inspect}
        require "global_id"
        GlobalID.app = "dummy"
        Person = Struct.new(:id) { include GlobalID::Identification }
        Lineside.config.assign(user_id: ->(user) { user.id.to_s })
        controller = ApplicationController.new
        controller.request = ActionDispatch::Request.empty
        controller.define_singleton_method(:current_user) { Person.new(7) }
        cookie = Lineside::Page.new(controller).identity(60)
        claims = JSON.parse(cookie.split(".")[1].unpack1("m").to_s)
        remote = ActionCable.server.remote_connections.where(current_user: Person.new(7), tenant: nil)
        puts "sub=\#{claims['sub']} \#{claims['identifier'].inspect} \#{remote.connection_identifier}"
      RUBY
    end
    expect(printed.call("required")).to match(/^sub=7 "(\w{20,})" \1$/)
    expect(printed.call(nil)).to match(/^sub=7 nil \w{20,}$/)
  end

  it "gets keys that lineside:env prints, with REVEAL=1 only" do
    key = ["the key of Turbo"].pack("m0")
    printed = lambda do |identity, reveal|
      ruby(<<~RUBY, env: { **publisher_env, "RAILS_ENV" => "development", "LINESIDE_CABLE_IDENTITY" => identity })
        require #{File.join(dummy, 'config/environment').inspect}
        require "lineside/listing"
        puts Lineside::Listing.of(Lineside.config, reveal: #{reveal})
      RUBY
    end
    expect(printed.call(nil, true)).not_to include("TURBO_KEYS")
    expect(printed.call("required", false)).to include("LINESIDE_TURBO_KEYS=[redacted]", "LINESIDE_CABLE_PATH=/cable")
    expect(printed.call("required", false)).not_to include(key)
    expect(printed.call("required", true)).to include("LINESIDE_TURBO_KEYS=#{key.shellescape}")
  end

  # Writes an app like the dummy with more code.
  # @return [String] its folder
  def app_with(code)
    folder = Dir.mktmpdir("app", @folder)
    FileUtils.mkdir_p("#{folder}/config")
    File.write("#{folder}/config/environment.rb", <<~RUBY)
      require #{File.join(ROOT, 'spec/dummy/config/environment').inspect}
      #{code}
    RUBY
    File.write("#{folder}/config.ru", <<~RUBY)
      require_relative "config/environment"
      run Rails.application
      Rails.application.load_server
    RUBY
    folder
  end

  # Writes an app that has its own code in Turbo::StreamsChannel.
  def changed_app
    app_with(<<~RUBY)
      module OnlyOpenRooms
        def subscribed = reject
      end
      Turbo::StreamsChannel.prepend(OnlyOpenRooms)
    RUBY
  end

  # Replaces the app that runs, as a deploy does.
  def deploy(folder)
    puma.signal(:KILL)
    serve_by([RbConfig.ruby, "-I", Processes::LIBRARY, "-S", "puma", "-w", "0", "-b", "tcp://127.0.0.1:0", "-C", "-",
              "#{folder}/config.ru"], env: by_route)
    @app_port = @port
    @port = @proxy_port
  end

  let(:by_route) { { "LINESIDE_CABLE_IDENTITY" => "required", "CABLE_EVENTS" => events } }

  it "opens no stream that a changed Turbo::StreamsChannel would have to decide" do
    launch(changed_app)
    sidecar.written(/^lineside: Turbo::StreamsChannel is not the one of turbo-rails, so the sidecar rejects it/)
    serve_behind_nginx
    browser = connected(sign_in("ada"))
    board = turbo("board")
    expect(browser.subscribe(board)).to eq rejected(board)
    broadcast("board", "not this")
    token = Lineside.channel_token("orders")
    browser.confirm("Lineside", token:)
    Lineside.publish!("orders", 1)
    expect(browser.next_message).to eq 1
    sidecar.written(/event=channel_needs_the_app .*LINESIDE_TURBO_KEYS/)
  end

  it "decides as the newest app does, while the sidecar keeps running" do
    launch
    serve_behind_nginx(**by_route)
    @proxy_port = @port
    ada = sign_in("ada")
    board = turbo("board")
    browser = connected(ada)
    browser.subscribe(board)

    deploy(changed_app)
    restarted = { "type" => "disconnect", "reason" => "server_restart", "reconnect" => true }
    expect([browser.receive, browser.receive_close]).to eq [restarted, 1000]
    browser = connected(ada)
    expect(browser.subscribe(board)).to eq rejected(board)

    deploy(app_with(<<~RUBY))
      Turbo.instance_variable_set(:@signed_stream_verifier, nil)
      Turbo.signed_stream_verifier_key = "the next key"
    RUBY
    sidecar.written(/event=turbo_keys_replaced .*keys=1/)
    expect(browser.subscribe(board)).to eq rejected(board)
    next_board = turbo("board", key: "the next key")
    expect(browser.subscribe(next_board)).to eq("identifier" => next_board, "type" => "confirm_subscription")
    broadcast("board", "after")
    expect(browser.next_message).to eq "after"
    expect(sidecar.output).not_to include(["the next key"].pack("m0"))
  end

  it "gets keys from the workers of a cluster, also after a restart of the sidecar without any" do
    launch("LINESIDE_CABLE_IDENTITY" => nil)
    serve_behind_nginx(workers: 2, **by_route)
    ada = sign_in("ada")
    2.times do |time|
      if time.positive?
        sidecar.stop
        launch("LINESIDE_CABLE_IDENTITY" => nil, "LINESIDE_BIND" => "127.0.0.1:#{@sidecar_port}")
      end
      sidecar.written(/event=turbo_keys_replaced process=.*puma.* keys=1/)
      board = turbo("board")
      expect(connected(ada).subscribe(board)).to eq("identifier" => board, "type" => "confirm_subscription")
    end
  end

  it "opens no stream unless the app has set cable_identity" do
    launch("LINESIDE_CABLE_IDENTITY" => nil, "LINESIDE_SECRET" => nil)
    expect(sidecar.output).to include("booted the app")
    serve_behind_nginx("LINESIDE_SECRET" => nil)
    browser = connected(sign_in("ada"))
    board = turbo("board")
    expect(browser.subscribe(board)).to eq rejected(board)
    sidecar.written(/event=channel_needs_the_app .*config\.lineside\.cable_identity/)
  end
end
