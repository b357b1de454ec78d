# frozen_string_literal: true

require "base64"
require "json"

RSpec.describe "A page rendered with lineside_meta_tags", :sidecar do
  # Starts the app in a Puma of its own, and waits until it knows the newest position.
  def start_app(root: "", **variables)
    env = publisher_env.merge("RAILS_ENV" => "test", "RAILS_RELATIVE_URL_ROOT" => root.empty? ? nil : root, **variables)
    puma = start([env, RbConfig.ruby, "-I", Processes::LIBRARY, "-S", "puma", "-w", "0", "-b", "tcp://127.0.0.1:0",
                  "-C", "-", File.join(ROOT, "spec/dummy/config.ru")], chdir: ROOT)
    @app_port = Integer(puma.written(%r{Listening on http://127\.0\.0\.1:(\d+)})[1])
    eventually("a cursor") { visitor("#{root}/page").meta("lineside-cursor") != "unknown" }
  end

  def visitor(page = nil, user: nil)
    Visitor.new(@app_port).tap do |visitor|
      visitor.get("/sign_in/#{user}") if user
      visitor.visit(page) if page
    end
  end

  # Connects as the page's script does.
  def connect(visitor, token: visitor.meta("lineside-token"))
    Browser.new(@port, token:, after: visitor.meta("lineside-cursor")).tap { |browser| browsers << browser }
  end

  def claims(token) = JSON.parse(Base64.urlsafe_decode64(token.split(".")[1]))

  def grants(token) = claims(token).slice("sub", "channels", "allow")

  before do
    start_sidecar
  end

  it "misses nothing that is published between its query and its layout" do
    start_app
    page = visitor("/page?of=board&posted=between")
    expect(page.response.body).not_to include("<li>between</li>")
    Lineside.publish!("board", "after the page")
    browser = connect(page)
    expect(browser.welcome).to include("recovered" => true, "channels" => ["board"])
    expect(browser.data_until("after the page")).to eq(["between", "after the page"])
  end

  it "tells the page of nobody where to connect and what it may read" do
    start_app
    page = visitor("/page?of=board")
    expect(page.meta("lineside-url")).to eq("/lineside")
    expect(grants(page.meta("lineside-token"))).to eq("channels" => ["board"])
    expect(grants(page.renew["token"])).to eq("channels" => ["board"])
    page.post("/lineside/token")
    expect([page.response.code, page.response.body]).to eq(["401", ""])
  end

  it "gives fresh tokens that open what the page's own opened, to its user alone" do
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

  it "gives none after the sign-out, and no page's channels to the next user" do
    start_app
    page = visitor("/page?of=rooms", user: "ada")
    page.get("/sign_in/grace")
    # A session of its own needs a CSRF token of its own.
    renewal = page.meta("lineside-token-url")
    page.visit("/page")
    page.post(renewal)
    expect(grants(JSON.parse(page.response.body)["token"])).to eq("sub" => "grace", "allow" => ["of-grace:*"])
    page.get("/sign_out")
    page.visit("/page")
    page.post(renewal)
    expect(page.response.code).to eq("401")
  end

  it "renews the page of nobody as nobody's, and that of another user not at all" do
    start_app
    page = visitor("/page?of=nobody", user: "ada")
    expect(claims(page.renew["token"])).not_to have_key("sub")
    page.visit("/page?of=other")
    expect(claims(page.meta("lineside-token"))["sub"]).to eq("another")
    expect(page.meta("lineside-token-url")).to be_nil
  end

  it "gives no token to a forged page, without a CSRF token, or by GET" do
    start_app
    page = visitor("/page?of=rooms", user: "ada")
    url = page.meta("lineside-token-url")
    page.post(url.sub(/page=.../, "page=AAA"))
    expect(page.response.code).to eq("401")
    [nil, "forged"].each { |csrf| expect(page.post(url, csrf:).code).to eq("422") }
    expect(page.get(url).code).to eq("404")
    [page.response.body].each { |body| expect(body).not_to include("token\":") }
  end

  it "stands under the app's relative URL root, and under a path of one's own" do
    start_app(root: "/shop", "LINESIDE_PATH" => "/live")
    page = visitor("/shop/page")
    expect(page.meta("lineside-url")).to eq("/shop/live")
    expect(page.meta("lineside-token-url")).to start_with("/shop/live/token?page=")
    expect(page.renew).to include("token", "exp")
  end
end
