# frozen_string_literal: true

RSpec.describe Lineside::Transactions do
  # Output of a script that uses Lineside without a log.
  def output_of(script)
    ruby(<<~RUBY, env: { "LINESIDE_LINK" => "unix:/nowhere/lineside.sock" })
      require "lineside"
      Lineside.configure { |config| config.logger = Logger.new(IO::NULL) }
      #{script}
    RUBY
  end

  it "does not autoload ActiveRecord, and opens no connection" do
    expect(output_of(<<~RUBY)).to eq("[true, true, true, nil]")
      require "active_record"
      answers = [Lineside.publish("orders", 1), !ActiveRecord.autoload?(:Base).nil?]
      ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ":memory:")
      print [*answers, Lineside.publish("orders", 1), ActiveRecord::Base.connection_pool.active_connection?].inspect
    RUBY
  end

  it "excludes the transaction of a transactional test of Rails, and no other" do
    expect(output_of(<<~RUBY)).to eq("[0, 1, 1, 0]")
      require "active_record"
      require "active_support/test_case"
      ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ":memory:")
      ActiveRecord::Base.connection.execute("SELECT 1")
      class Example < ActiveSupport::TestCase
        include ActiveRecord::TestFixtures
        def test_one; end
      end
      look = -> { Lineside::Transactions.open.size }
      example = Example.new("test_one")
      example.send(:setup_fixtures) # private from Rails 7.2
      seen = [look.call]
      ActiveRecord::Base.transaction { seen << look.call }
      ActiveRecord::Base.transaction(joinable: false) { seen << look.call }
      example.send(:teardown_fixtures)
      print [*seen, look.call].inspect
    RUBY
  end

  it "includes a transaction of the app that is not joinable before any other call, if ActiveSupport is loaded first" do
    expect(ruby(<<~RUBY)).to eq("1")
      require "active_support"
      require "lineside"
      require "active_record"
      require "minitest"
      ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ":memory:")
      ActiveRecord::Base.transaction(joinable: false) { print Lineside::Transactions.open.size }
    RUBY
  end

  it "includes databases connected after the first call" do
    expect(output_of(<<~RUBY)).to eq("[0, 1, 1, 2]")
      require "active_record"
      look = -> { Lineside::Transactions.open.size }
      ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ":memory:")
      before = look.call
      other = Class.new(ActiveRecord::Base) { def self.name = "Other" }
      other.abstract_class = true
      ActiveRecord::Base.transaction do
        one = look.call
        other.establish_connection(adapter: "sqlite3", database: ":memory:")
        two = look.call
        other.transaction { print [before, one, two, look.call].inspect }
      end
    RUBY
  end
end
