# frozen_string_literal: true

RSpec.describe "The identity cookie", :app, :sidecar do
  before do
    start_sidecar
    serve
  end

  def visitor(user = nil, session: nil)
    Visitor.new(@port).tap { |visitor| visitor.get("/sign_in/#{user}?session=#{session}") if user }
  end

  # The cookie that the last answer has set, as it stands there; nil for none.
  def set(visitor) = Array(visitor.response.get_fields("Set-Cookie")).grep(/\Alineside=/).first

  # What a plain `new WebSocket("/lineside")` of that visitor's page becomes.
  def connect(visitor, origin: "http://127.0.0.1:#{@port}")
    headers = { "Cookie" => visitor.cookies.map { |pair| pair.join("=") }.join("; "), "Origin" => origin }.compact
    Browser.new(@port, headers:).tap { |browser| browsers << browser }
  end

  def user_of(visitor, **options) = connect(visitor, **options).welcome["user"]

  it "makes a page without any token its user's, and only a page of this origin" do
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

  it "is kept from scripts, other sites and other hosts, lives for an hour, and under https only there" do
    ada = visitor("ada")
    ada.get("/answers/plain")
    attributes = set(ada).downcase.split("; ").drop(1)
    expect(attributes).to contain_exactly("path=/", "max-age=3600", "httponly", "samesite=lax")
    ada.get("/answers/plain", "X-Forwarded-Proto" => "https")
    expect(set(ada).downcase.split("; ")).to include("secure")
  end

  it "comes with pages and fresh tokens, also with those that have not changed" do
    ada = visitor("ada")
    %w[plain private unchanged].each do |kind|
      ada.get("/answers/#{kind}")
      expect([kind, set(ada)]).to match [kind, /\Alineside=ey/]
    end
    ada.visit("/page")
    ada.renew
    expect(set(ada)).to match(/\Alineside=ey/)
  end

  it "stands in no answer that others may get from a cache, and in none that is no page" do
    ada = visitor("ada")
    %w[public shared cdn json redirect].each do |kind|
      ada.get("/answers/#{kind}")
      expect([kind, set(ada)]).to eq [kind, nil]
    end
    expect(set(visitor.tap { |nobody| nobody.get("/answers/plain") })).to be_nil
  end

  it "goes with the sign-out's answer, or with the next page, and is the next user's from then on" do
    ada = visitor("ada")
    ada.visit("/page")
    ada.post("/sign_out")
    expect(set(ada)).to match(/\Alineside=;/)
    ada.get("/sign_in/ada")
    ada.visit("/page")
    ada.get("/sign_out")
    expect(set(ada)).to be_nil
    ada.get("/answers/public")
    expect(set(ada)).to be_nil
    ada.get("/answers/plain")
    expect(set(ada)).to match(/\Alineside=;/)
    ada.get("/sign_in/grace")
    ada.visit("/answers/plain")
    expect(user_of(ada)).to eq "grace"
  end

  it "ends with its session, and a page after the sign-out has a new one" do
    ada = visitor("ada", session: "1")
    other = visitor("ada", session: "2")
    ended, kept = [ada, other].map { |visitor| visitor.visit("/answers/plain") || connect(visitor) }
    Lineside.disconnect!("ada", session: "1")
    expect { ended.hear("message") }.to raise_error(/4002/)
    expect { user_of(ada) }.to raise_error(/4002/)
    Lineside.publish_to("ada", 1)
    expect(kept.data_until(1)).to eq [1]
    ada.get("/sign_in/ada?session=3")
    ada.visit("/answers/plain")
    expect(user_of(ada)).to eq "ada"
  end
end

RSpec.describe "The identity cookie in an app" do
  # Asks an app for a page.
  # @return [Array] the status, whether the cookie is set, what the log says, and the seconds that the cookie lives
  def answer(path, controllers, settings: "")
    JSON.parse(ruby(<<~RUBY, env: { "LINESIDE_SECRET" => Settings::SECRET }))
      require "rails"
      require "action_controller/railtie"
      require "stringio"
      require "lineside"
      class Shop < Rails::Application
        config.root = "/nowhere"
        config.eager_load = false
        config.secret_key_base = "k" * 64
        config.hosts.clear
        config.logger = Logger.new($log = StringIO.new)
        #{settings}
        routes.append { get "/page", to: "pages#show"; get "/engine", to: "engine#show" }
      end
      Shop.initialize!
      #{controllers}
      answer = Array.new(2) { Rack::MockRequest.new(Shop).get("#{path}") }.last
      cookie = answer["Set-Cookie"].to_s
      print JSON.generate([answer.status, cookie.include?("lineside="), $log.string, cookie[/max-age=(\\d+)/i, 1]])
    RUBY
  end

  signed_in = <<~RUBY
    class ApplicationController < ActionController::Base
      def current_user = "ada"
    end
    class PagesController < ApplicationController
      def show = render(html: "a page")
    end
    class EngineController < ActionController::Base
      def show = render(html: "a page")
      def current_user = "ada"
    end
  RUBY

  it "is not set by controllers that are not the app's own, nor where the app does not want it" do
    expect(answer("/page", signed_in).take(2)).to eq [200, true]
    expect(answer("/engine", signed_in).take(2)).to eq [200, false]
    settings = "config.lineside.identity_cookie = false"
    expect(answer("/page", signed_in, settings:).take(2)).to eq [200, false]
  end

  it "lives no longer than the app lets its tokens live" do
    settings = "config.lineside.token_expires_in = 60"
    expect(answer("/page", signed_in, settings:).last).to eq "60"
  end

  it "harms no page where nobody can tell who is signed in, and says so once" do
    broken = signed_in.sub('"ada"', 'raise("no such user")')
    status, set, log = answer("/page", broken)
    expect([status, set]).to eq [200, false]
    expect(log.scan("sets no identity cookie").size).to eq 1
    expect(log).to match(/RuntimeError, no such user.*config.lineside.identity_cookie = false/)
  end
end
