# frozen_string_literal: true

require "minitest"
require "lineside/rspec"

RSpec.describe "Publications in tests", :databases do
  before { use(Lineside::Configuration.new) { |config| config.app_environment = "test" } }

  # Test of an app, with the helper for Minitest.
  let(:test) do
    Class.new(Minitest::Test) { include Lineside::TestHelper }.new("test").tap(&:before_setup)
  end

  def publish(data, **options) = Lineside.publish("orders", data, **options)

  # Transaction around a test, as Rails' fixtures open it.
  def within_fixture_transaction
    orders.connection.begin_transaction(joinable: false)
    yield
  ensure
    orders.connection.rollback_transaction
  end

  def failed = raise_error(Minitest::Assertion)

  it "are recorded as a browser receives them, and open no link" do
    expect(publish({ at: Time.utc(2026), total: 90, none: Float::NAN })).to be true
    Lineside.publish_to(42, [:unread, nil])
    Lineside.publish_all([["news", 1], %w[news two]])
    expect(Lineside.publish!("orders", "receipt", timeout: 0)).to be_a(Lineside::Receipt)
    expect(Lineside::Recorder.current.publications.map { |it| [it.channel, it.data] }).to eq [
      ["orders", { "at" => Time.utc(2026).as_json, "total" => 90, "none" => nil }],
      ["user:42", ["unread", nil]], ["news", 1], %w[news two], %w[orders receipt]
    ]
    expect([Lineside.flush, Lineside.cursor, Lineside.disconnect(42)]).to eq [true, nil, true]
    expect(Lineside::Native.status).to include(linked: false, accepted: 0)
    expect(log.string).to eq ""
  end

  it "raise for data that cannot be published" do
    expect { publish("\xFF") }.to raise_error(ArgumentError)
    expect { publish("x" * 70_000) }.to raise_error(Lineside::PayloadTooLarge, /payload_bytes_max/)
    expect { Lineside.publish("user:1", 1) }.to raise_error(ArgumentError)
    test.assert_no_published
  end

  it "keep their channel and id if the app changes its text afterwards" do
    [channel = +"orders", once = +"paid"].each do |text|
      Lineside.publish(channel, 1, once:)
      text << "-next"
    end
    expect(Lineside::Recorder.current.publications.map { |it| [it.channel, it.once] })
      .to eq [%w[orders paid], %w[orders-next paid]]
  end

  it "are recorded once per id" do
    test
    2.times { publish(1, once: "paid") }
    expect(Lineside.publish!("orders", 1, once: "paid")).to be_duplicate
    publish(1, once: "sent")
    test.assert_published("orders", 1, count: 2)
  end

  it "count when their transaction commits, inside the transaction around a test" do
    test
    within_fixture_transaction do
      publish("at once")
      orders.transaction do
        publish("committed")
        orders.transaction(requires_new: true) do
          publish("rolled back")
          raise ActiveRecord::Rollback
        end
        test.assert_published("orders", count: 1)
        expect { Lineside.publish!("orders", 1) }.to raise_error(Lineside::InTransaction)
        publish("now", now: true)
      end
    end
    expect(Lineside::Recorder.current.publications.map(&:data)).to eq ["at once", "now", "committed"]
  end

  it "are dropped by a rollback" do
    expect do
      within_fixture_transaction { orders.transaction { publish(1) && raise(ActiveRecord::Rollback) } }
      orders.transaction { publish(2) && raise(ActiveRecord::Rollback) }
    end.not_to have_published("orders")
  end

  it "are sent when the app asks for it, and then no assertion works" do
    use(Lineside.config) { |config| config.record = false }
    expect(Lineside.publisher).to be_instance_of(Lineside::Publisher)
    expect { test }.to raise_error(Lineside::Error, /config.lineside.record = true/)
  end

  it "are sent in every other environment, unless the app asks to record them" do
    use(Lineside.config) { |config| config.app_environment = "development" }
    expect(Lineside.publisher).to be_instance_of(Lineside::Publisher)
    use(Lineside.config) { |config| config.record = true }
    expect(Lineside.publisher).to be_a(Lineside::Recorder)
  end

  it "begin anew with each test" do
    publish(1)
    test.assert_no_published
    expect(test.capture_publications { publish(2, once: "id") }.map(&:to_a)).to eq [["orders", 2, "id"]]
  end

  describe "with Lineside::TestHelper" do
    before { test }

    it "are asserted by channel, data and count" do
      publish({ id: 7, lines: [{ sku: 1 }] })
      publish({ id: 8 })
      test.assert_published("orders")
      test.assert_published("orders", count: 2)
      test.assert_published("orders", { id: 7, lines: [{ sku: 1 }] })
      test.assert_published("orders", { "id" => 8 }, count: 1)
      test.assert_published("orders", ->(data) { data["id"] > 7 }, count: 1)
      expect { test.assert_published("orders", count: 1) }.to failed
      expect { test.assert_published("orders", nil) }.to failed
      expect { test.assert_published("order") }
        .to raise_error(Minitest::Assertion, /any on order, found 0. Published: orders: {"id":7,.*; orders: {"id":8}/)
    end

    it "are asserted for a user and within a block" do
      Lineside.publish_to(42, { unread: 3 })
      test.assert_published_to(42, { unread: 3 })
      expect { test.assert_published_to(42) { publish(1) } }.to failed
      expect(test.assert_published("orders") { publish(2) }.map(&:data)).to eq [2]
    end

    it "are asserted not to exist" do
      test.assert_no_published
      publish(1)
      test.assert_no_published("news")
      test.assert_no_published("orders") { Lineside.publish("news", 1) }
      expect { test.assert_no_published("orders") }.to failed
      expect { test.assert_no_published }.to failed
    end
  end

  describe "with the matchers for RSpec" do
    it "are expected by channel, data and count" do
      expect { publish(1) }.to have_published("orders")
      expect { 2.times { publish({ id: 7, at: Time.utc(2026) }) } }.to have_published("orders").twice
      expect { publish({ id: 7, total: 9 }) }.to have_published("orders").with(id: 7, total: 9)
      expect { publish({ id: 7, total: 9 }) }.to have_published("orders").with(a_hash_including("id" => 7))
      expect { publish({ id: 7, total: 9 }) }.to have_published("orders").with(a_hash_including(total: be > 8))
      expect { 3.times { |number| publish(number) } }.to have_published("orders").with(be > 0).at_least(2).times
      expect { Lineside.publish_to(42, nil) }.to have_published_to(42).with(nil)
      expect { publish([1]) }.to(have_published("orders").with { |data| expect(data).to eq [1] })
    end

    it "are told apart by data that is nil or false" do
      [nil, false].each do |data|
        expect { publish(data) }.to have_published("orders").with(data)
        expect { publish(1) }.not_to have_published("orders").with(data)
        expect { expect { publish(1) }.to have_published("orders").with(data) }
          .to raise_error(RSpec::Expectations::ExpectationNotMetError, /exactly 1 on orders with #{data.inspect}, but/)
      end
    end

    it "are expected not to exist" do
      expect { Lineside.publish("news", 1) }.not_to have_published("orders")
      expect { publish(1) }.not_to have_published("orders").with(2)
      expect { expect { 2.times { publish(1) } }.not_to have_published("orders") }
        .to raise_error(RSpec::Expectations::ExpectationNotMetError, /not to publish/)
    end

    it "are listed in the message of a failure" do
      message = 'expected to publish exactly 1 on orders with 1, but published 0. Published: news: {"id":1}'
      expect { expect { Lineside.publish("news", { id: 1 }) }.to have_published("orders").with(1) }
        .to raise_error(RSpec::Expectations::ExpectationNotMetError, message)
    end
  end
end
