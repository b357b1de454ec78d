# frozen_string_literal: true

module Lineside
  # Publications of one call inside a transaction, deferred until the commit. Enrolled in the transaction like a record,
  # with the methods that ActiveRecord calls on one: a released savepoint passes them to its parent, a rollback drops
  # them. The transaction callbacks of Rails 7.2 do not suffice, because they are skipped if an after_commit of a record
  # raises, although the transaction was committed.
  class Deferred
    # Thread variable with the deferred publications of a thread, in the order of the calls.
    PENDING = :lineside_deferred
    private_constant :PENDING

    class << self
      # Hands over the publications of committed transactions whose callbacks have not run yet. Called when this thread
      # has no open transaction, so that publications from an after_commit come after those from inside the transaction.
      # Drops publications whose connection was reset before a commit or rollback.
      def settle
        pending = Thread.current.thread_variable_get(PENDING)
        # A copy, because settling removes entries.
        pending.dup.each_key(&:settle) unless pending.nil? || pending.empty?
      end

      # @return [Hash{Deferred => true}] by identity
      def pending
        Thread.current.thread_variable_get(PENDING) ||
          {}.compare_by_identity.tap { |pending| Thread.current.thread_variable_set(PENDING, pending) }
      end
    end

    # @param encoded [Native::Held] the encoded publications
    # @param transactions [Array] transactions that all must commit
    # @yieldparam encoded [Native::Held] called after the last commit
    def initialize(encoded, transactions, &hand_over)
      @encoded = encoded
      @states = transactions.map(&:state)
      @commits = transactions.size
      @hand_over = hand_over
      @pending = Deferred.pending
      @pending[self] = true
      transactions.each { |transaction| transaction.add_record(self) }
    end

    # Called by ActiveRecord when an outermost transaction has committed, even if a callback of a record raised.
    def committed!(**)
      @commits -= 1
      Deferred.settle if Transactions.open.empty?
      hand_over if @commits.zero?
    end

    # Called by ActiveRecord when a transaction or a savepoint was rolled back.
    def rolledback!(**)
      @pending.delete(self)
      Native.release(@encoded)
    end

    def before_committed!(*); end

    def trigger_transactional_callbacks? = true

    # Hands over or drops the publications. Called without an open transaction, so each state is final.
    def settle
      @states.all?(&:committed?) ? hand_over : rolledback!
    end

    private

    def hand_over
      @hand_over.call(@encoded) if @pending.delete(self)
    end
  end
end
