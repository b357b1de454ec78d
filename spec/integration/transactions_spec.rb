# frozen_string_literal: true

RSpec.describe "Publishing inside a transaction", :sidecar, :databases do
  # LINESIDE_TRANSACTIONS=100000 for a long run. Read here, because examples run without LINESIDE_ variables.
  transactions = Integer(ENV.fetch("LINESIDE_TRANSACTIONS", "3000"))

  before do
    start_sidecar
    @browser = browse("ada", channels: ["orders"])
  end

  # Data that the browser received since the last call.
  def delivered
    Lineside.publish("orders", "last", now: true)
    @browser.data_until("last")[..-2]
  end

  def publish(data, **options) = Lineside.publish("orders", data, **options)

  def rollback = raise(ActiveRecord::Rollback)

  it "sends after the commit, in order, with the data of the call" do
    data = { "state" => "old" }
    orders.transaction do
      expect(publish(data)).to be(true)
      data["state"] = "new"
      expect(Lineside.publish_to("ada", 2)).to be(true)
      expect(Lineside.publish_all([["orders", 3], ["orders", 4]])).to be(true)
      expect(publish("at once", now: true)).to be(true)
      expect(Lineside.publisher.status[:accepted]).to eq(1)
    end
    expect(delivered).to eq(["at once", { "state" => "old" }, 2, 3, 4])
  end

  it "is dropped by a rollback, an exception and Thread#kill" do
    orders.transaction { publish(1) && rollback }
    expect { orders.transaction { publish(2) && raise("no") } }.to raise_error("no")
    expect { orders.transaction { publish(3) && raise(Interrupt) } }.to raise_error(Interrupt)
    Thread.new { orders.transaction { publish(4) && Thread.current.kill } }.join
    publish(5)
    expect(delivered).to eq([5])
    expect(Lineside.publisher.status[:accepted]).to eq(2)
  end

  it "is dropped with its savepoint" do
    orders.transaction do
      publish("a")
      orders.transaction(requires_new: true) { publish("kept") }
      publish("b")
      orders.transaction(requires_new: true) { publish("dropped") && rollback }
      orders.transaction(requires_new: true) do
        orders.transaction(requires_new: true) { publish("released into what is rolled back") }
        rollback
      end
      orders.transaction { publish("joined") }
      publish("c")
    end
    orders.transaction do
      orders.transaction(requires_new: true) { publish("released, then rolled back") }
      rollback
    end
    expect(delivered).to eq(%w[a kept b joined c])
  end

  it "waits for the commits of all databases" do
    orders.transaction do
      publish("one of one")
      stocks.transaction { publish("both") }
      expect(Lineside.publisher.status[:accepted]).to eq(0)
      stocks.transaction { publish("rolled back in one") && rollback }
      publish("two of one")
    end
    orders.transaction { stocks.transaction { publish("rolled back in the other") } && rollback }
    stocks.transaction { publish("the other alone") }
    expect(delivered).to eq(["one of one", "both", "two of one", "the other alone"])
  end

  it "ignores the transaction around a test, but not one inside it" do
    orders.connection.begin_transaction(joinable: false)
    publish(1)
    expect(Lineside.publisher.status[:accepted]).to eq(1)
    orders.transaction do
      publish(2)
      orders.transaction(requires_new: true) { publish(3) }
      orders.transaction(requires_new: true) { publish("dropped") && rollback }
      expect(Lineside.publisher.status[:accepted]).to eq(1)
    end
    orders.transaction { publish("dropped") && rollback }
    expect(Lineside.publisher.status[:accepted]).to eq(3)
    expect(Lineside.publish!("orders", 4)).to be_a(Lineside::Receipt)
    orders.connection.rollback_transaction
    expect(delivered).to eq([1, 2, 3, 4])
  end

  it "precedes publications from after_commit callbacks" do
    model = Class.new(orders) { after_commit { Lineside.publish("orders", "callback of #{name}") } }
    orders.transaction do
      model.new(name: "first").save!(validate: false)
      publish(1)
      model.new(name: "second").save!(validate: false)
      publish(2)
    end
    expect(delivered).to eq([1, 2, "callback of first", "callback of second"])
  end

  it "is sent although an after_commit callback raises" do
    model = Class.new(orders) { after_commit { raise "broken" } }
    expect do
      orders.transaction do
        model.new(name: "first").save!(validate: false)
        publish(1)
        publish(2)
      end
    end.to raise_error("broken")
    expect(Lineside.publisher.status[:accepted]).to eq(2)
    model = Class.new(orders) { after_rollback { Lineside.publish("orders", "after the rollback") } }
    orders.transaction do
      model.new(name: "first").save!(validate: false)
      publish("dropped") && rollback
    end
    expect(delivered).to eq([1, 2, "after the rollback"])
  end

  it "is deduplicated by once:" do
    orders.transaction { 2.times { |number| publish(number, once: "order-7-paid") } }
    publish(3, once: "order-7-paid")
    expect(delivered).to eq([0])
  end

  it "raises for publish! without now: true" do
    orders.transaction do
      expect { Lineside.publish!("orders", 1) }.to raise_error(Lineside::InTransaction, /now: true/)
      expect(Lineside.publish!("orders", 2, now: true)).to be_a(Lineside::Receipt)
    end
    expect(delivered).to eq([2])
  end

  it "raises at the call for invalid arguments" do
    orders.transaction do
      expect { publish("\xFF") }.to raise_error(ArgumentError)
      expect { publish("x" * 70_000) }.to raise_error(Lineside::PayloadTooLarge)
      expect { Lineside.publish("user:1", 1) }.to raise_error(ArgumentError)
    end
    expect(delivered).to eq([])
  end

  it "counts waiting publications towards spool_bytes_max" do
    use(Lineside.config) { |config| config.spool_bytes_max = 10_000 }
    held = 0
    orders.transaction do
      held += 1 while publish("x" * 1000)
      expect(held).to be_between(8, 9)
      expect(publish("x" * 1000, now: true)).to be(false)
      rollback
    end
    orders.transaction { held.times { expect(publish("y" * 1000)).to be(true) } }
    expect(Lineside.flush(timeout: 10)).to be(true)
    expect(delivered).to eq(["y" * 1000] * held)
  end

  it "does not delay other threads" do
    orders.transaction do
      publish("held")
      Thread.new { publish("of another thread") }.join
    end
    expect(delivered).to eq(["of another thread", "held"])
  end

  it "is sent by the parent only after a fork" do
    orders.transaction do
      publish("parent's")
      child = fork do
        publish("child's") && Lineside.flush(timeout: 10)
        exit!(true)
      end
      Process.wait(child)
    end
    expect(delivered).to eq(["child's", "parent's"])
  end

  it "is dropped when its connection is reset" do
    connection = stocks.connection
    connection.begin_transaction
    publish("lost")
    # Simulates a reconnect of the connection.
    connection.reset_transaction
    publish("next")
    expect(delivered).to eq(["next"])
    expect(Lineside::Deferred.pending).to be_empty
  end

  it "is dropped when one of two connections is reset" do
    stocks.connection.begin_transaction
    orders.transaction do
      publish("lost")
      stocks.connection.reset_transaction
    end
    publish("next")
    expect(delivered).to eq(["next"])
  end

  it "waits for a transaction of the app that is not joinable" do
    orders.transaction(joinable: false) { publish("dropped") && rollback }
    orders.transaction(joinable: false) do
      orders.transaction { publish("released, then rolled back") }
      rollback
    end
    orders.transaction do
      orders.transaction(joinable: false, requires_new: true) { publish("released by the inner one") }
      rollback
    end
    orders.transaction(joinable: false) do
      orders.transaction { publish(1) }
      expect(Lineside.publisher.status[:accepted]).to eq(0)
      publish(2)
    end
    expect(delivered).to eq([1, 2])
  end

  it "waits for a transaction that is not joinable inside a test's too, and keeps the order of the calls" do
    model = Class.new(orders) { after_commit { Lineside.publish("orders", "callback of #{name}") } }
    orders.connection.begin_transaction(joinable: false)
    orders.transaction(joinable: false) do
      orders.transaction { publish("released, then rolled back") }
      rollback
    end
    orders.transaction do
      model.new(name: "first").save!(validate: false)
      publish(1)
    end
    orders.transaction(joinable: false) { orders.transaction { publish(2) } }
    publish(3)
    orders.connection.rollback_transaction
    expect(delivered).to eq([1, "callback of first", 2, 3])
  end

  it "delivers exactly the committed ones inside the transactions of a test" do
    random = Random.new(RSpec.configuration.seed)
    [orders, stocks].each { |database| database.connection.begin_transaction(joinable: false) }
    model = Nesting.new(random, [orders, stocks]) { |number| publish(number) || raise("not accepted") }
    500.times { model.transaction }
    [orders, stocks].each { |database| database.connection.rollback_transaction }
    expect(Lineside.flush(timeout: 20)).to be(true)
    expect(delivered).to eq(model.expected)
  end

  # Uses RSpec's seed.
  it "delivers exactly the committed ones of 3,000 random transactions" do
    random = Random.new(RSpec.configuration.seed)
    use(Lineside.config) { |config| config.spool_bytes_max = 64 * 1024 * 1024 }
    model = Nesting.new(random, [orders, stocks]) { |number| publish(number) || raise("not accepted") }
    transactions.times do |number|
      model.transaction
      next unless (number % 500).zero?

      expect(Lineside.flush(timeout: 20)).to be(true)
      expect(delivered).to eq(model.expected)
    end
    expect(delivered).to eq(model.expected)
  end
end
