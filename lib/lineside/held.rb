# frozen_string_literal: true

module Lineside
  # What was published inside a transaction, until that ends. It is enrolled there as a record is, with the methods that
  # ActiveRecord calls on one: a savepoint that is released passes it on to its parent, one that is rolled back tells it
  # so. The callbacks of transactions that Rails has since 7.2 would be less: they are skipped when a record's own
  # after_commit raises, and the commit has happened all the same.
  class Held
    # Where a thread keeps what it has published and what no commit or rollback has reached yet, in order of the calls.
    PENDING = :lineside_held
    private_constant :PENDING

    class << self
      # Hands over what is left once this thread has no transaction open: its commit was, and only ActiveRecord's round
      # of the records has not come to it yet. So what their after_commit publishes comes after what they published
      # before. What was neither committed nor rolled back has lost its connection, and is dropped.
      def settle
        held = Thread.current.thread_variable_get(PENDING)
        # A copy, for settling takes them out.
        held.dup.each_key(&:settle) unless held.nil? || held.empty?
      end

      # @return [Hash{Held => true}] by identity
      def pending
        Thread.current.thread_variable_get(PENDING) ||
          {}.compare_by_identity.tap { |held| Thread.current.thread_variable_set(PENDING, held) }
      end
    end

    # @param parcel [Native::Held] the encoded publications
    # @param transactions [Array] those that all have to commit
    # @yieldparam parcel [Native::Held] when they have
    def initialize(parcel, transactions, &hand_over)
      @parcel = parcel
      @states = transactions.map(&:state)
      @commits = transactions.size
      @hand_over = hand_over
      @pending = Held.pending
      @pending[self] = true
      transactions.each { |transaction| transaction.add_record(self) }
    end

    # The outermost transaction has committed. Heard also when another record's callback has raised.
    def committed!(**)
      @commits -= 1
      Held.settle if Transactions.open.empty?
      hand_over if @commits.zero?
    end

    # A transaction, or a savepoint, was rolled back.
    def rolledback!(**)
      @pending.delete(self)
      Native.release(@parcel)
    end

    def before_committed!(*); end

    def trigger_transactional_callbacks? = true

    # With no transaction open any more, the innermost one's state says how all around it ended.
    def settle
      @states.all?(&:committed?) ? hand_over : rolledback!
    end

    private

    def hand_over
      @hand_over.call(@parcel) if @pending.delete(self)
    end
  end
end
