# frozen_string_literal: true

require "json"

RSpec.describe "Pages of a Rails app" do
  # Gets paths of an app, in an environment of Rails.
  # @return [Array<Array>] status and body of each response; then the log
  def responses(*paths, env: "development", user: '"ada"')
    JSON.parse(ruby(<<~RUBY, env: { "LINESIDE_SECRET" => Settings::SECRET, "RAILS_ENV" => env }))
      #{shop_app(<<~'SETTINGS')}
        config.consider_all_requests_local = true
        routes.append { %w[shared anonymous named].each { |name| get "/#{name}", to: "pages##{name}" } }
      SETTINGS
      class Order
        def to_gid_param = "order-7"
      end
      class ApplicationController < ActionController::Base
        def current_user = #{user}
      end
      class PagesController < ApplicationController
        def shared
          expires_in 300, public: true
          render inline: "<%= lineside_meta_tags channels: ['orders'] %>"
        end

        def anonymous
          expires_in 300, public: true
          render inline: "<%= lineside_meta_tags user: nil, channels: ['orders'] %>"
        end

        def named = render(inline: "<%= lineside_channel(Order.new) %> <%= lineside_channel([:room, 7]) %>")
      end
      responses = #{paths.inspect}.map { |path| Rack::MockRequest.new(Shop).get(path) }
      print JSON.generate([*responses.map { |it| [it.status, it.body] }, $log.string])
    RUBY
  end

  it "contain no token of a user if shared caches may store them" do
    (status, body), log = responses("/shared", env: "production")
    expect([status, body]).to match [200, include("lineside-url").and(include("lineside-cursor"))]
    expect(body).not_to match(/lineside-(token|permit)/)
    expect(log).to match(/renders no token: PagesController#shared lets shared caches store a page with the token/)
    (status, body), = responses("/shared")
    expect([status, body]).to match [500, /PagesController#shared lets shared caches store/]
  end

  it "contain a token of nobody also if shared caches may store them" do
    tokens = [200, /lineside-token" content="ey/]
    expect(responses("/anonymous")[0]).to match tokens
    expect(responses("/shared", user: "nil")[0]).to match tokens
  end

  it "name the channels of records by lineside_channel" do
    expect(responses("/named")[0]).to eq [200, "order-7 room:7"]
  end

  it "include one for the path of the WebSocket, which says what it is" do
    expect(responses("/lineside")[0]).to match [426, /\AThis is the WebSocket of Lineside.* not linked to a sidecar: /]
  end
end

RSpec.describe "The path of the WebSocket", :app, :sidecar do
  it "says that the app is linked to its sidecar" do
    start_sidecar
    serve
    eventually("the link") { Visitor.new(@port).get("/lineside").body.include?("this app is linked to its sidecar") }
    expect(Visitor.new(@port).get("/lineside").code).to eq "426"
  end
end
