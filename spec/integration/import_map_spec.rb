# frozen_string_literal: true

require "selenium/webdriver"

RSpec.describe "A new app with importmap-rails", :generated_app do
  before { skip "importmap-rails is not installed" unless Gem.loaded_specs.key?("importmap-rails") }
  after { @browser&.quit }

  # npm package, which bin/setup installs.
  let(:turbo) { File.join(ROOT, "tests/browser/node_modules/@hotwired/turbo-rails/app/assets/javascripts/turbo.js") }

  # Adds Action Cable, the import map and the stand-in for turbo-rails.
  def add_hotwire
    application = "config/application.rb"
    write_app_file application, app_file(application).sub(%r{# (?=require "action_cable/engine")}, "")
    write_app_file "config/cable.yml", "development:\n  adapter: async\n"
    write_app_file "config/initializers/turbo.rb", <<~RUBY
      require #{File.join(ROOT, 'spec/apps/turbo/streams_helper').inspect}
      Turbo.signed_stream_verifier_key = "the key of Turbo"
    RUBY
    rails("importmap:install")
    FileUtils.cp(turbo, app_path("vendor/javascript/turbo.js"))
    write_app_file "config/importmap.rb",
                   "#{app_file('config/importmap.rb')}\npin \"@hotwired/turbo-rails\", to: \"turbo.js\"\n"
    write_app_file "app/javascript/application.js", "import \"@hotwired/turbo-rails\"\n"
  end

  # Adds a page with a Turbo stream, which publishes what other requests give it.
  def add_page
    write_app_file "config/routes.rb", <<~RUBY
      Rails.application.routes.draw { root to: "pages#show" }
    RUBY
    write_app_file "app/controllers/pages_controller.rb", <<~RUBY
      class PagesController < ApplicationController
        def show
          Lineside.publish("orders", params[:order]) if params[:order]
          ActionCable.server.broadcast("board", params[:post]) if params[:post]
        end
      end
    RUBY
    write_app_file "app/views/pages/show.html.erb", <<~ERB
      <%= turbo_stream_from "board" %>
      <ol id="posts"></ol>
      <ol id="orders"></ol>
    ERB
  end

  def subscribe_to_orders
    layout = "app/views/layouts/application.html.erb"
    write_app_file layout, app_file(layout).sub("lineside_meta_tags", 'lineside_meta_tags channels: ["orders"]')
    write_app_file "app/javascript/application.js", <<~JS
      #{app_file('app/javascript/application.js')}
      import { connect } from "lineside"
      connect().subscribe("orders", (order) => document.querySelector("#orders").append(order))
    JS
  end

  # Starts `rails server` with a sidecar.
  # @return [Integer] the port
  def start_app
    env = { **GeneratedApps.environment, "LINESIDE_BIND" => "127.0.0.1:0", "LINESIDE_ADMIN_BIND" => "none" }
    server = start([env, RbConfig.ruby, "bin/rails", "server", "-p", "0"], chdir: app_path)
    server.written(/event=listening/)
    Integer(server.written(%r{Listening on http://127\.0\.0\.1:(\d+)})[1])
  end

  def browser
    arguments = %w[--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage]
    options = Selenium::WebDriver::Chrome::Options.new(args: arguments)
    options.add_option("goog:loggingPrefs", { browser: "ALL" })
    @browser ||= Selenium::WebDriver.for(:chrome, options:)
  end

  def text(selector) = browser.find_element(css: selector).text

  def post(text) = %(<turbo-stream action="append" target="posts"><template><li>#{text}</li></template></turbo-stream>)

  it "imports both modules by the generator's pins, and receives" do
    add_hotwire
    rails("generate", "lineside:install")
    add_page
    subscribe_to_orders
    port = start_app
    browser.get("http://127.0.0.1:#{port}/")
    # Set by the module lineside/turbo.
    eventually("the connection") { browser.find_elements(css: 'html[data-lineside="connected"]').any? }
    visitor = Visitor.new(port)
    visitor.visit("/?#{URI.encode_www_form(order: '7', post: post('first'))}")
    eventually("both messages") { [text("#orders"), text("#posts")] == %w[7 first] }
    # The layout of Rails 7.2 names a manifest that the app does not have.
    expect(browser.logs.get(:browser).map(&:message).grep_v(/manifest|deprecated/)).to eq []
  end
end
