# frozen_string_literal: true

module Lineside
  # Transactions that a test opens around itself and rolls back at its end. Publications do not wait for them.
  #
  # ActiveRecord's fixtures, Database Cleaner and others open them on the connection without a block, not joinable, and
  # outside all others. `transaction(joinable: false) { … }` is a transaction of the app, also in a test.
  module TestTransactions
    # Constants of which a process that runs tests has at least one.
    FRAMEWORKS = %i[Minitest RSpec Test Cucumber].freeze

    # Instance variable that marks a transaction.
    MARK = :@lineside_test
    private_constant :MARK

    # Prepended to the methods of connections. `transaction` with a block does not call them.
    module Connection
      def begin_transaction(**options)
        outside = current_transaction
        transaction = super
        TestTransactions.add(transaction) if options[:joinable] == false && TestTransactions.begins?(outside)
        transaction
      end
    end

    class << self
      def include?(transaction) = transaction.instance_variable_defined?(MARK)

      def add(transaction) = transaction.instance_variable_set(MARK, true)

      # @param outside [Object] transaction around the one that begins
      def begins?(outside) = (outside.closed? || include?(outside)) && running?

      # Begins to recognize transactions of tests. A transaction that is open already counts as a test's if it is not
      # joinable. Only a script that loads ActiveRecord after Lineside, without ActiveSupport before it, can have one.
      #
      # @param connections [Array] connections in use
      def watch(connections)
        return if @watching

        @watching = true
        ActiveRecord::ConnectionAdapters::DatabaseStatements.prepend(Connection)
        connections.map(&:current_transaction).each do |transaction|
          add(transaction) if transaction.open? && !transaction.joinable? && running?
        end
      end

      private

      def running? = FRAMEWORKS.any? { |name| Object.const_defined?(name) }
    end
  end
end
