# frozen_string_literal: true

require "json"

RSpec.describe "The element of turbo_stream_from" do
  # Settings of an app with Action Cable.
  def settings(adapter)
    <<~RUBY
      config.action_controller.perform_caching = true
      config.cache_store = :memory_store
      initializer("shop.cable") { ActiveSupport.on_load(:action_cable) { self.cable = { adapter: "#{adapter}" } } }
      %w[show shared].each { |name| routes.append { get "/\#{name}", to: "pages#\#{name}" } }
      require "action_cable/engine"
      require "#{ROOT}/spec/apps/turbo/streams_helper"
    RUBY
  end

  # Renders a template twice, and once for shared caches.
  # @return [Array<String>] bodies of the responses
  def bodies(template, adapter: "lineside", env: "development")
    JSON.parse(ruby(<<~RUBY, env: { "LINESIDE_SECRET" => Settings::SECRET, "RAILS_ENV" => env }))
      #{shop_app(settings(adapter))}
      Turbo.signed_stream_verifier_key = "k"
      class ApplicationController < ActionController::Base
        helper_method def broadcast = ApplicationController.render(inline: "<%= turbo_stream_from 'news' %>")
      end
      class PagesController < ApplicationController
        def show = render(inline: #{template.inspect})

        append_view_path "#{ROOT}/spec/apps/turbo/views"

        def shared
          expires_in 300, public: true
          show
        end
      end
      print JSON.generate(%w[/show /show /shared].map { |path| Rack::MockRequest.new(Shop).get(path).body })
    RUBY
  end

  # Attributes of each element.
  def attributes(body)
    body.scan(/<turbo-cable-stream-source ([^>]*)>/).flatten.map { |text| text.scan(/([\w-]+)="([^"]*)"/).to_h }
  end

  def elements(template, **app) = bodies(template, **app).map { |body| attributes(body) }

  it "has the request's cursor and one key for each response" do
    first, second = elements("<%= turbo_stream_from 'board', 7 %><%= turbo_stream_from 'news' %>")
    expect(first.map { |it| it["data-lineside-after"] }).to eq %w[unknown unknown]
    keys = [first, second].map { |page| page.map { |it| it["data-lineside-page"] }.uniq }
    expect(keys).to match [[/\A[\w-]{22}\z/]] * 2
    expect(keys.first).not_to eq keys.last
    expect(first.map { |it| it["channel"] }.uniq).to eq ["Turbo::StreamsChannel"]
  end

  it "keeps all that the app gives" do
    element, = elements("<%= turbo_stream_from 'board', id: 'b', class: 'c', channel: 'RoomChannel', " \
                        "data: { room_id: 7, turbo_permanent: true } %>").first
    expect(element).to include("id" => "b", "class" => "c", "channel" => "RoomChannel", "data-room-id" => "7",
                               "data-turbo-permanent" => "true", "data-lineside-after" => "unknown",
                               "signed-stream-name" => a_string_including("--"))
  end

  it "is that of turbo-rails unless the sidecar serves Action Cable" do
    [{ adapter: "async" }, { env: "test" }].each do |app|
      element, = elements("<%= turbo_stream_from 'board' %>", **app).first
      expect(element.keys).to eq %w[channel signed-stream-name]
    end
  end

  it "is that of turbo-rails in a broadcast, also during a request" do
    broadcast, own = elements("<%= broadcast %><%= turbo_stream_from 'board' %>").first
    expect(broadcast.keys).to eq %w[channel signed-stream-name]
    expect(own).to include("data-lineside-after")
  end

  it "has no key in pages that shared caches may store" do
    element, = elements("<%= turbo_stream_from 'board' %>").last
    expect(element.keys).to eq %w[data-lineside-after channel signed-stream-name]
  end

  it "is that of turbo-rails in cached fragments" do
    cached, own = elements("<% cache('a') do %><%= turbo_stream_from 'board' %><% end %>" \
                           "<%= turbo_stream_from 'board' %>").first
    expect(cached.keys).to eq %w[channel signed-stream-name]
    expect(own).to include("data-lineside-after")
  end

  it "is that of turbo-rails in cached collections" do
    cached, fresh = [true, false].map do |value|
      elements("<%= render partial: 'post', collection: [:a], cached: #{value} %>").first.first
    end
    expect(cached.keys).to eq %w[channel signed-stream-name]
    expect(fresh).to include("data-lineside-after")
  end
end
