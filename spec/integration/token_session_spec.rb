# frozen_string_literal: true

require "json"

# Each example runs an app in a process of its own. Its callback writes to the session in each request, as a rule for
# sessions that time out does.
RSpec.describe "The app's session in requests for tokens" do
  # Runs `code` in a session of Action Dispatch, with the session store of an app.
  # @return [Object] what the code returns, as JSON
  def in_app(code, store: ":cookie_store")
    JSON.parse(ruby(<<~RUBY, env: { "LINESIDE_SECRET" => Settings::SECRET, "RAILS_ENV" => "production" })).first
      #{shop_app(<<~SETTINGS)}
        config.cache_store = :memory_store
        config.session_store #{store}, key: "shop"
        routes.append do
          get "/seen", to: "pages#seen"
          post "/sign_in", to: "pages#sign_in"
        end
      SETTINGS
      class ApplicationController < ActionController::Base
        before_action do
          session[:requests] = session[:requests].to_i + 1
          flash.now[:notice]
          # As a strategy of Warden that signs in by another cookie does.
          request.session_options[:renew] = true if request.headers["X-Remembered"]
          head :service_unavailable if request.headers["X-Busy"]
          redirect_to "/sign_in" if request.headers["X-Halted"]
        end
        def current_user = session[:user]
      end
      class PagesController < ApplicationController
        def seen = render(json: session.to_hash.slice("user", "requests").merge(notice: flash[:notice]))

        def sign_in
          session[:user] = "ada"
          flash[:notice] = "Welcome"
          head :no_content
        end
      end
      browser = ActionDispatch::Integration::Session.new(Shop)
      token = -> (**headers) { browser.post("/lineside/token", headers:); browser.response.headers["Set-Cookie"].to_s }
      seen = -> { browser.get("/seen"); JSON.parse(browser.response.body) }
      browser.post("/sign_in")
      print JSON.generate([begin #{code} end])
    RUBY
  end

  let(:unchanged) { { "user" => "ada", "requests" => 2, "notice" => "Welcome" } }

  it "is not written, so that a late response replaces no newer session" do
    cookies = in_app('[{}, { "X-Halted" => "1" }, { "X-Busy" => "1" }].map { |it| token.(**it) }')
    expect(cookies).to all(satisfy { |cookie| !cookie.match?(/^shop=/) })
    expect(in_app("token.()")).to match(/^lineside\w*=ey/)
  end

  it "is not prolonged, and keeps the message for the next page" do
    expect(in_app("3.times { token.() }; seen.()")).to eq unchanged
  end

  it "survives in the store of a server that a callback asks for another id" do
    [{ "X-Remembered" => "1" }, { "X-Remembered" => "1", "X-Halted" => "1" }].each do |headers|
      expect(in_app("token.(**#{headers}); seen.()", store: ":cache_store")).to eq unchanged
    end
  end
end
