# frozen_string_literal: true

require "lineside/identity"

RSpec.describe "The identity cookie", :app, :sidecar do
  before do
    start_sidecar
    serve
  end

  def visitor(user = nil, session: nil)
    Visitor.new(@port).tap { |visitor| visitor.get("/sign_in/#{user}?session=#{session}") if user }
  end

  # The identity cookie's Set-Cookie header in the last response; nil if there is none.
  def set(visitor) = Array(visitor.response.get_fields("Set-Cookie")).grep(/\Alineside_\h{8}=/).first

  # Connects like `new WebSocket("/lineside")` in the visitor's page.
  def connect(visitor, origin: "http://127.0.0.1:#{@port}")
    headers = { "Cookie" => visitor.cookies.map { |pair| pair.join("=") }.join("; "), "Origin" => origin }.compact
    Browser.new(@port, headers:).tap { |browser| browsers << browser }
  end

  def user_of(visitor, **options) = connect(visitor, **options).welcome["user"]

  it "identifies the user without a token, from the same origin only" do
    ada = visitor("ada")
    ada.visit("/answers/plain")
    browser = connect(ada)
    expect(browser.welcome).to include("user" => "ada", "channels" => ["user:ada"])
    Lineside.publish_to("grace", 1)
    Lineside.publish_to("ada", 2)
    expect(browser.data_until(2)).to eq [2]
    expect(user_of(ada, origin: nil)).to be_nil
    expect(user_of(visitor.tap { |nobody| nobody.visit("/answers/plain") })).to be_nil
  end

  it "is HttpOnly and SameSite, lives for an hour, and is Secure on https" do
    ada = visitor("ada")
    ada.get("/answers/plain")
    attributes = set(ada).downcase.split("; ").drop(1)
    expect(attributes).to contain_exactly("path=/", "max-age=3600", "httponly", "samesite=lax")
    ada.get("/answers/plain", "X-Forwarded-Proto" => "https")
    expect(set(ada).downcase.split("; ")).to include("secure")
  end

  it "is set by pages, unchanged pages and fresh tokens" do
    ada = visitor("ada")
    %w[plain private unchanged uncached].each do |kind|
      ada.get("/answers/#{kind}")
      expect([kind, set(ada)]).to match [kind, /\A\w+=ey/]
    end
    ada.visit("/page")
    ada.renew
    expect(set(ada)).to match(/\A\w+=ey/)
  end

  it "is not set by responses that are cacheable or not a page" do
    ada = visitor("ada")
    %w[public shared cdn fastly cloudflare nginx json redirect].each do |kind|
      ada.get("/answers/#{kind}")
      expect([kind, set(ada)]).to eq [kind, nil]
    end
    expect(set(visitor.tap { |nobody| nobody.get("/answers/plain") })).to be_nil
  end

  it "is deleted at sign-out or by the next page, and set for the next user" do
    ada = visitor("ada")
    ada.visit("/page")
    ada.post("/sign_out")
    expect(set(ada)).to match(/\A\w+=;/)
    ada.post("/sign_out")
    expect(set(ada)).to be_nil
    ada.get("/sign_in/ada")
    ada.visit("/page")
    ada.get("/sign_out")
    expect(set(ada)).to be_nil
    ada.get("/answers/public")
    expect(set(ada)).to be_nil
    ada.get("/answers/plain")
    expect(set(ada)).to match(/\A\w+=;/)
    ada.get("/sign_in/grace")
    ada.visit("/answers/plain")
    expect(user_of(ada)).to eq "grace"
  end

  it "is the app's own: a cookie of another app on the host counts as none" do
    ada = visitor("ada")
    ada.visit("/answers/plain")
    ada.cookies["lineside_00000000"] = "another.app's.cookie"
    expect(user_of(ada)).to eq "ada"
    foreign = visitor.tap { |visitor| visitor.cookies["lineside_00000000"] = "another.app's.cookie" }
    expect(user_of(foreign)).to be_nil
    foreign.get("/answers/plain")
    expect(Array(foreign.response.get_fields("Set-Cookie")).grep(/lineside/)).to be_empty
  end

  it "has the path of the app's root" do
    serve(env: { "RAILS_RELATIVE_URL_ROOT" => "/shop" })
    ada = Visitor.new(@port)
    ada.get("/shop/sign_in/ada")
    ada.visit("/shop/page")
    expect(set(ada)).to match(%r{; path=/shop;}i)
    ada.post("/shop/sign_out")
    expect(set(ada)).to match(%r{\A\w+=; path=/shop;}i)
  end

  it "is revoked with its session, and set again after a new sign-in" do
    ada = visitor("ada", session: "1")
    other = visitor("ada", session: "2")
    ended, kept = [ada, other].map { |visitor| visitor.visit("/answers/plain") || connect(visitor) }
    Lineside.disconnect!("ada", session: "1")
    expect { ended.receive("message") }.to raise_error(/4002/)
    expect { user_of(ada) }.to raise_error(/4002/)
    Lineside.publish_to("ada", 1)
    expect(kept.data_until(1)).to eq [1]
    ada.get("/sign_in/ada?session=3")
    ada.visit("/answers/plain")
    expect(user_of(ada)).to eq "ada"
  end
end

RSpec.describe "The identity cookie in an app" do
  # Gets a page from an app.
  # @return [Array] status, whether the cookie is set, log, and lifetime of the cookie in seconds
  def answer(path, controllers, settings: "", cookie: nil)
    JSON.parse(ruby(<<~RUBY, env: { "LINESIDE_SECRET" => Settings::SECRET }))
      #{shop_app(<<~SETTINGS, railties: %w[action_controller])}
        #{settings}
        routes.append do
          %w[page open out].each { |name| get "/\#{name}", to: "pages#\#{name}" }
          get "/engine", to: "engine#show"
        end
      SETTINGS
      #{controllers}
      answer = Array.new(2) { Rack::MockRequest.new(Shop).get("#{path}", "HTTP_COOKIE" => #{cookie.to_s.inspect}) }.last
      cookie = answer["Set-Cookie"].to_s
      print JSON.generate([answer.status, cookie.match?(/^lineside_\\h{8}=/), $log.string, cookie[/max-age=(\\d+)/i, 1]])
    RUBY
  end

  signed_in = <<~RUBY
    class ApplicationController < ActionController::Base
      def current_user = "ada"
    end
    class PagesController < ApplicationController
      def page = render(html: "a page")
    end
    class EngineController < ActionController::Base
      def show = render(html: "a page")
      def current_user = "ada"
    end
  RUBY

  # App whose Current.user is set in one action only.
  in_one_action = <<~RUBY
    class Current < ActiveSupport::CurrentAttributes
      attribute :user
    end
    class ApplicationController < ActionController::Base
      before_action(only: :page) { Current.user = "ada" }
    end
    class PagesController < ApplicationController
      def page = render(html: "a page")
      def open = render(html: "a page")
      def out = Lineside.disconnect("ada") && redirect_to("/open")
    end
  RUBY

  it "is kept by a page on which nobody looked for a user, and deleted by Lineside.disconnect" do
    use(Lineside.config) { |config| config.secret = Settings::SECRET }
    cookie = "#{Lineside::Identity.cookie}=anything"
    expect(answer("/page", in_one_action, cookie:).take(2)).to eq [200, true]
    expect(answer("/open", in_one_action, cookie:).take(2)).to eq [200, false]
    expect(answer("/out", in_one_action, cookie:).values_at(0, 1, 3)).to eq [302, true, "0"]
  end

  it "is not set by controllers of engines, nor if it is disabled" do
    expect(answer("/page", signed_in).take(2)).to eq [200, true]
    expect(answer("/engine", signed_in).take(2)).to eq [200, false]
    settings = "config.lineside.identity_cookie = false"
    expect(answer("/page", signed_in, settings:).take(2)).to eq [200, false]
  end

  it "has at most the lifetime of the app's tokens" do
    settings = "config.lineside.token_expires_in = 60"
    expect(answer("/page", signed_in, settings:).last).to eq "60"
  end

  it "is not set if current_user raises, which is logged once" do
    broken = signed_in.sub('"ada"', 'raise("no such user")')
    status, set, log = answer("/page", broken)
    expect([status, set]).to eq [200, false]
    expect(log.scan("sets no identity cookie").size).to eq 1
    expect(log).to match(/RuntimeError: no such user.*config.lineside.identity_cookie = false/)
  end
end
