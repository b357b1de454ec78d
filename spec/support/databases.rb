# frozen_string_literal: true

# Two SQLite databases with one model each, created on first use.
module Databases
  def self.connect
    @connect ||= begin
      require "active_record"
      ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ":memory:")
      # In an app, where ActiveSupport is loaded before Lineside, this happens when ActiveRecord is loaded.
      Lineside::Transactions.loaded?
      const_set(:Order, Class.new(ActiveRecord::Base) { self.table_name = "orders" })
      other = const_set(:Other, Class.new(ActiveRecord::Base) { self.abstract_class = true })
      other.establish_connection(adapter: "sqlite3", database: ":memory:")
      const_set(:Stock, Class.new(other) { self.table_name = "stocks" })
      { Order => "orders", Stock => "stocks" }.each do |model, table|
        model.connection.create_table(table) { |columns| columns.string :name }
      end
    end
  end

  def self.included(group)
    group.before { Databases.connect }
    group.after { [orders, stocks].each(&:delete_all) }
  end

  def orders = Databases::Order

  def stocks = Databases::Stock
end
