# frozen_string_literal: true

# System tests of the dummy app in Chromium, by Minitest.
ENV["RAILS_ENV"] = "test"
require_relative "../dummy/config/environment"
require "rails/test_help"
require "action_dispatch/system_test_case"
require "active_record"
require "capybara/rails"
require "selenium/webdriver"
require "lineside/system_test"

Rails.logger = Dummy.config.logger = ActionCable.server.config.logger = Logger.new(nil)
ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ":memory:")

Capybara.server = :puma, { Silent: true }
Capybara.register_driver(:chromium) do |app|
  arguments = %w[--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --window-size=800,600]
  options = Selenium::WebDriver::Chrome::Options.new(args: arguments)
  Capybara::Selenium::Driver.new(app, browser: :chrome, options:)
end

class ActiveSupport::TestCase # rubocop:disable Style/ClassAndModuleChildren -- as in an app
  include Lineside::TestHelper

  # As Rails' assertion, which needs another adapter for the whole test.
  def assert_broadcasts(stream, count)
    before = ActionCable.server.pubsub.broadcasts(stream).size
    yield
    assert_equal count, ActionCable.server.pubsub.broadcasts(stream).size - before
  end
end

class ApplicationSystemTestCase < ActionDispatch::SystemTestCase
  driven_by :chromium

  def take_failed_screenshot; end

  # Text that the page shows now, without a wait.
  def shown(list = "posts")
    evaluate_script("[...document.querySelectorAll('##{list} li')].map((it) => it.textContent)")
  end

  # Keeps the page busy while the block runs: it waits for an answer of this address.
  def while_busy
    TCPServer.open("127.0.0.1", 0) do |server|
      request = nil
      begun = -> { request = server.wait_readable(20) ? server.accept : flunk("the page asks for nothing") }
      yield "http://127.0.0.1:#{server.local_address.ip_port}/", begun
    ensure
      request&.close
    end
  end

  def assert_not_settled(*patterns, timeout: 0.5)
    error = assert_raises(Lineside::SystemTest::NotSettled) { settle!(timeout:) }
    patterns.each { |pattern| assert_match pattern, error.message }
  end
end

class SettledTest < ApplicationSystemTestCase
  ROUNDS = Integer(ENV.fetch("ROUNDS", 200))

  test "two sessions show everything that was published and broadcast, in every round" do
    visit "/sign_in/ada"
    visit "/board?cable=books"
    using_session(:other) { visit "/board?cable=books" }
    settle!
    ROUNDS.times do |round|
      Lineside.publish("board", round)
      ActionCable.server.broadcast("books", round)
      Lineside.publish_to("ada", "for ada") if round.zero?
      settle!
      all = (0..round).map(&:to_s)
      assert_equal [all.dup.insert(1, "for ada"), all], [shown, shown("stream")]
      using_session(:other) { assert_equal [all, all], [shown, shown("stream")] }
    end
  end

  test "a page that has just been opened is waited for" do
    20.times do |round|
      visit "/board?cable=books&#{round}"
      Lineside.publish("board", round)
      ActionCable.server.broadcast("books", round)
      settle!
      assert_equal [[round.to_s]] * 2, [shown, shown("stream")]
    end
  end

  test "a channel that runs in the app has transmitted before" do
    visit "/board?cable=books&only"
    settle!
    execute_script(<<~JS)
      const identifier = { channel: "RoomChannel", room: "1", block: true };
      consumer.subscriptions.create(identifier, { received: (data) => show("#posts", data) });
    JS
    settle!
    50.times do |round|
      ActionCable.server.broadcast("block:1", round)
      settle!
      assert_equal (0..round).map(&:to_s), shown
    end
  end

  test "requests under way are finished first" do
    visit "/board"
    settle!
    begun, release = HELD.values_at(:begun, :release)
    execute_script("fetch('/held')")
    begun.pop
    settled = Thread.new { settle! }
    assert_not_settled(%r{requests under way: .*/held})
    assert_predicate settled, :alive?
    release << true
    settled.join
    assert_equal ["held"], shown
  end

  test "assertions about publications work" do
    Lineside.publish("board", 1)
    assert_broadcasts("books", 1) { ActionCable.server.broadcast("books", 2) }
    assert_published "board", 1, count: 1
    assert_equal 1, Lineside::Recorder.current.publications.size
  end

  test "an open transaction with publications is refused" do
    ActiveRecord::Base.transaction do
      settle!
      Lineside.publish("board", "committed")
      assert_no_published
      assert_raises(Lineside::InTransaction) { settle! }
    end
    assert_published "board", "committed"
    settle!
  end
end

class NotSettledTest < ApplicationSystemTestCase
  test "a busy page is named with its user and channels" do
    visit "/sign_in/ada"
    visit "/board"
    settle!
    while_busy do |address, begun|
      Lineside.publish("board", address)
      begun.call
      assert_not_settled(/user ada .*lineside-v1 from 127.0.0.1; board, user:ada/, /has not answered/)
    end
    settle!
    assert_equal ["answered"], shown
  end

  test "a busy page of Action Cable is named by its session" do
    visit "/board?cable=books&only"
    settle!
    while_busy do |address, begun|
      ActionCable.server.broadcast("books", address)
      begun.call
      assert_not_settled(/Capybara session "default": it runs no JavaScript/)
    end
    settle!
    assert_equal ["answered"], shown("stream")
  end

  test "a suspended page is named" do
    # It stays hidden afterwards.
    using_session(:suspended) do
      visit "/board"
      settle!
      set_state = ->(state) { page.driver.browser.execute_cdp("Page.setWebLifecycleState", state:) }
      set_state.call("frozen")
      Lineside.publish("board", "late")
      assert_not_settled(/of nobody .*; board/)
      set_state.call("active")
      settle!
      assert_equal ["late"], shown
    end
  end

  test "a page whose socket is not open is named" do
    visit "/board?cable=books&only"
    settle!
    execute_script("document.querySelector('turbo-cable-stream-source').removeAttribute('connected')")
    assert_not_settled(/1 of its turbo-cable-stream-source elements are not connected/)
  end

  test "another adapter of Action Cable is an error" do
    visit "/board?cable=books"
    settle!
    used = ActionCable.server.pubsub
    ActionCable.server.instance_variable_set(:@pubsub, ActionCable::SubscriptionAdapter::Test.new(ActionCable.server))
    assert_match(/adapter: lineside/, assert_raises(Lineside::Error) { settle! }.message)
  ensure
    ActionCable.server.instance_variable_set(:@pubsub, used) if used
  end
end

# Publishes when it is released.
HELD = { begun: Queue.new, release: Queue.new }.freeze
Dummy.routes.prepend do
  get "/held", to: (lambda do |_env|
    HELD[:begun] << true
    HELD[:release].pop
    Lineside.publish("board", "held")
    [200, {}, []]
  end)
end
Dummy.reload_routes!

class OtherTest < ActiveSupport::TestCase
  test "other tests of the process send nothing" do
    accepted = Lineside::Native.status[:accepted]
    Lineside.publish("board", "unit")
    assert_broadcasts("books", 1) { ActionCable.server.broadcast("books", "unit") }
    assert_published "board", "unit"
    assert_equal accepted, Lineside::Native.status[:accepted]
    assert_nil Lineside.cursor
  end
end
