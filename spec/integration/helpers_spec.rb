# frozen_string_literal: true

require "base64"
require "json"

RSpec.describe "A page rendered with lineside_meta_tags", :sidecar do
  # Starts the app in Puma, and waits until it knows the newest cursor.
  def start_app(root: "", **variables)
    env = publisher_env.merge("RAILS_ENV" => "development", "RAILS_RELATIVE_URL_ROOT" => root.empty? ? nil : root,
                              **variables)
    @puma = start([env, RbConfig.ruby, "-I", Processes::LIBRARY, "-S", "puma", "-w", "0", "-b", "tcp://127.0.0.1:0",
                   "-C", "-", File.join(ROOT, "spec/dummy/config.ru")], chdir: ROOT)
    @app_port = Integer(@puma.written(%r{Listening on http://127\.0\.0\.1:(\d+)})[1])
    eventually("a cursor") { visitor("#{root}/page").meta("lineside-cursor") != "unknown" }
  end

  def visitor(page = nil, user: nil)
    Visitor.new(@app_port).tap do |visitor|
      visitor.get("/sign_in/#{user}") if user
      visitor.visit(page) if page
    end
  end

  # Connects like the page's script.
  def connect(visitor, token: visitor.meta("lineside-token"))
    Browser.new(@port, token:, after: visitor.meta("lineside-cursor")).tap { |browser| browsers << browser }
  end

  def claims(token) = JSON.parse(Base64.urlsafe_decode64(token.split(".")[1]))

  def grants(token) = claims(token).slice("sub", "channels", "allow")

  before do
    start_sidecar
  end

  it "receives publications between its query and its layout" do
    start_app
    page = visitor("/page?of=board&posted=between")
    expect(page.response.body).not_to include("<li>between</li>")
    Lineside.publish!("board", "after the page")
    browser = connect(page)
    expect(browser.welcome).to include("recovered" => true, "channels" => ["board"])
    expect(browser.data_until("after the page")).to eq(["between", "after the page"])
  end

  it "has URL and grants for an anonymous page" do
    start_app
    page = visitor("/page?of=board")
    expect(page.meta("lineside-url")).to eq("/lineside")
    own = { "channels" => ["board"], "allow" => ["of-nobody:*"] }
    expect(grants(page.meta("lineside-token"))).to eq(own)
    expect(grants(page.renew["token"])).to eq(own)
    page.post("/lineside/token")
    expect([page.response.code, page.response.body]).to eq(["401", ""])
  end

  it "gets fresh tokens with the same grants for its user" do
    start_app
    ["/page", "/page?of=rooms"].each do |path|
      page = visitor(path, user: "ada")
      fresh = page.renew
      expect(page.response["Cache-Control"]).to include("no-store")
      expect(grants(fresh["token"])).to eq(grants(page.meta("lineside-token")))
      expect(grants(fresh["token"])).to include("sub" => "ada", "allow" => include("of-ada:*"))
      expect(fresh["exp"]).to eq(claims(fresh["token"])["exp"])
      expect(connect(page, token: fresh["token"]).welcome["user"]).to eq("ada")
    end
  end

  it "gets no token after sign-out, and no grants for the next user" do
    start_app
    page = visitor("/page?of=rooms", user: "ada")
    page.get("/sign_in/grace")
    expect(grants(page.renew["token"])).to eq("sub" => "grace", "allow" => ["of-grace:*"])
    page.get("/sign_out")
    expect(page.renew).to be_nil
    expect(page.response.code).to eq("401")
  end

  it "renews an anonymous page with the grants of nobody, also for a user who has signed in since" do
    start_app
    page = visitor("/page?of=board")
    nobody = grants(page.meta("lineside-token"))
    page.get("/sign_in/ada?session=1")
    ada = page.cookies.dup
    token = page.renew["token"]
    expect([grants(token), claims(token)]).to match([nobody, hash_excluding("sub", "sid")])
    expect(connect(page, token:).welcome).to include("user" => nil, "channels" => ["board"])
    page.cookies.replace(ada)
    page.visit("/page?of=nobody")
    [page.meta("lineside-token"), page.renew["token"]].each do |given|
      expect(claims(given).keys & %w[sub sid channels allow]).to eq([])
    end
    page.get("/sign_out")
    expect(grants(page.renew["token"])).to eq("allow" => ["of-nobody:*"])
  end

  it "has no grants and no session of the requester in another user's token" do
    start_app
    page = Visitor.new(@app_port)
    page.get("/sign_in/ada?session=1")
    page.visit("/page?of=other")
    expect(claims(page.meta("lineside-token")).slice("sub", "sid", "channels", "allow")).to eq("sub" => "another")
    expect([page.meta("lineside-token-url"), page.meta("lineside-permit")]).to eq([nil, nil])
  end

  it "gets no token for forged grants or by GET, and needs no CSRF token" do
    start_app
    page = visitor("/page?of=rooms", user: "ada")
    url = page.meta("lineside-token-url")
    permit = page.meta("lineside-permit")
    expect(page.post(url, lineside_permit: permit.sub(/\A.../, "AAA")).code).to eq("401")
    expect(page.get(url).code).to eq("404")
    expect(page.response.body).not_to include("token\":")
    [nil, "forged"].each { |csrf| expect(page.post(url, csrf:).code).to eq("200") }
  end

  it "is rendered anew after a publication, also if its action calls it fresh" do
    start_app
    page = Visitor.new(@app_port)
    %w[tagged dated].each do |kind|
      first = page.get("/answers/#{kind}")
      headers = { "If-None-Match" => first["ETag"], "If-Modified-Since" => first["Last-Modified"] }.compact
      expect([kind, page.get("/answers/#{kind}", headers).code]).to eq([kind, "304"])
      Lineside.publish!("board", 1)
      eventually("#{kind} with the new cursor") { page.get("/answers/#{kind}", headers).code == "200" }
    end
  end

  it "keeps the page's grants out of URLs and out of the app's log" do
    start_app
    page = visitor("/page?of=rooms", user: "ada")
    permit = page.meta("lineside-permit")
    expect(page.renew).to include("token")
    expect(@puma.output).to include("POST \"/lineside/token\"", "lineside_permit")
    expect(@puma.output).not_to include(permit[0, 60])
    page.post("/lineside/token?lineside_permit=#{CGI.escape(permit)}")
    expect(grants(JSON.parse(page.response.body)["token"])).to eq("sub" => "ada", "allow" => ["of-ada:*"])
  end

  it "omits the app's default URL options from the WebSocket's URL" do
    start_app
    page = visitor("/page?locale=de")
    expect(page.meta("lineside-url")).to eq("/lineside")
    expect(page.meta("lineside-token-url")).to eq("/lineside/token?locale=de")
    expect(page.renew).to include("token", "exp")
  end

  it "works below a relative URL root and with another path" do
    start_app(root: "/shop", "LINESIDE_PATH" => "/live")
    page = visitor("/shop/page")
    expect(page.meta("lineside-url")).to eq("/shop/live")
    expect(page.meta("lineside-token-url")).to eq("/shop/live/token")
    expect(page.renew).to include("token", "exp")
  end

  it "works with the path /, which stays the app's own page" do
    start_app("LINESIDE_PATH" => "/")
    page = visitor("/page")
    expect(page.meta("lineside-url")).to eq("/")
    expect(page.renew).to include("token", "exp")
    expect(page.get("/").code).to eq("200")
  end
end

RSpec.describe "The cursor of a request", :sidecar do
  before { start_sidecar }

  # Runs code in an app that publishes to this example's sidecar.
  def app(code)
    ruby(<<~RUBY, env: publisher_env)
      #{shop_app(railties: [])}
      #{code}
    RUBY
  end

  it "is sampled once in the outermost execution, and cleared at its end" do
    expect(app(<<~RUBY)).to eq("true true unknown")
      Lineside.publish!("board", 1) && Lineside.flush
      before = Lineside.cursor
      Shop.executor.wrap do
        Lineside.publish!("board", 2) && Lineside.flush
        Shop.executor.wrap { print Lineside.request_cursor == before, " " }
        print Lineside.request_cursor == before && Lineside.cursor != before, " "
      end
      print Lineside.request_cursor
    RUBY
  end

  it "opens the link only if it is requested" do
    expect(app(<<~RUBY)).to eq("nil unknown known")
      Shop.executor.wrap { print Lineside.instance_variable_get(:@publisher).inspect, " " }
      Shop.executor.wrap { print Lineside.request_cursor, " " }
      Thread.pass until Lineside.cursor
      Shop.executor.wrap { print Lineside.request_cursor == Lineside.cursor && "known" }
    RUBY
  end
end

RSpec.describe "The user of a page" do
  # Gets a page and a fresh token from an app. Returns the users of both tokens; a status if there is no fresh token.
  def users(code, settings: "")
    JSON.parse(ruby(<<~RUBY, env: { "LINESIDE_SECRET" => Settings::SECRET }))
      #{shop_app(<<~SETTINGS)}
        config.action_controller.allow_forgery_protection = false
        #{settings}
        routes.append { get "/page", to: "pages#show" }
      SETTINGS
      #{code}
      class PagesController < ActionController::Base
        include Visits if defined?(Visits)
        def show = render(inline: "<%= lineside_meta_tags %>")
      end
      sub = ->(token) { JSON.parse(token.split(".")[1].tr("-_", "+/").unpack1("m"))["sub"] }
      app = Rack::MockRequest.new(Shop)
      page = app.get("/page").body[/"lineside-token" content="([^"]*)"/, 1]
      renewed = begin
        app.post("/lineside/token")
      rescue StandardError
        Rack::MockResponse.new(500, {}, [])
      end
      print JSON.generate([sub.(page), renewed.ok? ? sub.(JSON.parse(renewed.body)["token"]) : renewed.status])
    RUBY
  end

  it "is nil in an app without users" do
    expect(users("")).to eq([nil, 401])
  end

  it "is Current.user, also if Current delegates it" do
    expect(users(<<~RUBY)).to eq(%w[ada ada])
      class Current < ActiveSupport::CurrentAttributes
        attribute :session
        delegate :user, to: :session, allow_nil: true
      end
      module Visits
        def self.included(base) = base.before_action { Current.session = Struct.new(:user).new("ada") }
      end
      class ApplicationController < ActionController::Base
        include Visits
      end
    RUBY
  end

  it "is current_user, public or private, also in an API" do
    [%w[Base private], %w[API public]].each do |parent, visibility|
      expect(users(<<~RUBY)).to eq([7.to_s, 7.to_s])
        module Visits
          #{visibility} def current_user = 7
        end
        class ApplicationController < ActionController::#{parent}
          include Visits
        end
      RUBY
    end
  end

  # ApplicationController with a user, or without one, and with a callback.
  def app_with(callback, user: '"ada"')
    <<~RUBY
      module Visits
        def current_user = #{user}
      end
      class ApplicationController < ActionController::Base
        include Visits
        #{callback}
      end
    RUBY
  end

  it "alone decides on a fresh token, whatever other callbacks answer or raise" do
    ['after_action { raise "not authorized" }', 'before_action { redirect_to "/terms" }',
     "before_action { head :not_acceptable }", 'before_action { raise "no policy" }',
     'before_action { render plain: "no" }'].each do |callback|
      expect([callback, *users(app_with(callback))]).to eq([callback, "ada", "ada"])
      status = callback.include?("before_action { raise") ? 500 : 401
      expect([callback, *users(app_with(callback, user: "nil"))]).to eq([callback, nil, status])
    end
    ["rescue_from(IOError) { redirect_to '/login' }\nbefore_action { raise IOError }"].each do |callback|
      expect(users(app_with(callback, user: "nil"))).to eq([nil, 401])
    end
  end

  it "waits for a fresh token while callbacks answer that the app is busy" do
    { "503" => 503, "429" => 429 }.each do |given, status|
      expect(users(app_with("before_action { head #{given} }"))).to eq(["ada", status])
    end
  end

  it "is the result of config.lineside.user in the configured parent" do
    ["-> { account }", "->(controller) { controller.send(:account) }"].each do |rule|
      expect(users(<<~RUBY, settings: <<~SETTINGS)).to eq(%w[a-7 a-7])
        module Visits
          private def account = "a-7"
        end
        class MembersController < ActionController::Base
          include Visits
        end
      RUBY
        config.lineside.user = #{rule}
        config.lineside.parent_controller = "MembersController"
        # Found at boot, as by autoloading.
        initializer("shop.members") { Object.const_set(:MembersController, Class.new(ActionController::Base)) }
      SETTINGS
    end
  end

  it "has a token lifetime from a second to a day" do
    [0, -1, 86_401, "soon"].each do |life|
      expect { Lineside.config.token_expires_in = life }
        .to raise_error(Lineside::ConfigurationError, /token_expires_in is #{life.inspect}/)
    end
  end
end
