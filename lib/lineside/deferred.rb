# frozen_string_literal: true

module Lineside
  # Publications of one call inside a transaction, deferred until the commit. Enrolled in the transaction like a record,
  # with the methods that ActiveRecord calls on one: a released savepoint passes them to its parent, a rollback drops
  # them. The transaction callbacks of Rails 7.2 do not suffice, because they are skipped if an after_commit of a record
  # raises, although the transaction was committed.
  class Deferred
    # Key of the deferred publications of a thread or fiber ({ExecutionState}).
    PENDING = :lineside_deferred

    # Deferred publications in the order of the calls, as the keys of a Hash by identity. Rails copies the variables of
    # a thread to the one that streams its response, so the thread is stored too.
    Pending = Struct.new(:thread, :calls)
    private_constant :PENDING, :Pending

    # Record that ActiveRecord notifies of the end of a transaction on one connection.
    class Enrolment
      def initialize(deferred, connection)
        @deferred = deferred
        @connection = connection
      end

      # Called when the transaction has committed, even if a callback of a record raised. Inside one that is not
      # joinable, ActiveRecord also calls it for a savepoint. The publications then wait for the outer transaction.
      def committed!(**)
        outer = Transactions.innermost(@connection)
        outer ? outer.add_record(self) : @deferred.committed
      end

      # Called when the transaction or a savepoint was rolled back.
      def rolledback!(**) = @deferred.rolled_back

      def before_committed!(*); end

      def trigger_transactional_callbacks? = true
    end

    class << self
      # Hands over the publications of committed transactions whose callbacks have not run yet. Called when no
      # transaction is open here, so that publications from an after_commit come after those from inside the
      # transaction. Drops publications whose connection was reset before a commit or rollback.
      def settle
        pending = ExecutionState.get(PENDING)
        return if pending.nil? || pending.calls.empty? || !pending.thread.equal?(Thread.current)

        # A copy, because settling removes entries.
        pending.calls.dup.each_key(&:settle)
      end

      # @return [Hash{Deferred => true}] by identity
      def pending
        pending = ExecutionState.get(PENDING)
        return pending.calls if pending&.thread.equal?(Thread.current)

        calls = {}.compare_by_identity
        ExecutionState.set(PENDING, Pending.new(Thread.current, calls))
        calls
      end
    end

    # @param encoded [Native::Held, nil] the encoded publications; nil if they hold no room in the spool
    # @param transactions [Array] transactions that all must commit
    # @yieldparam encoded [Native::Held] called after the last commit
    def initialize(encoded, transactions, &hand_over)
      @encoded = encoded
      @states = transactions.map(&:state)
      @commits = transactions.size
      @hand_over = hand_over
      @pending = Deferred.pending
      @pending[self] = true
      transactions.each { |transaction| transaction.add_record(Enrolment.new(self, transaction.connection)) }
    end

    # One of the transactions has committed.
    def committed
      @commits -= 1
      Deferred.settle if Transactions.open.empty?
      hand_over if @commits.zero?
    end

    # One of the transactions was rolled back.
    def rolled_back
      @pending.delete(self)
      Native.release(@encoded) if @encoded
    end

    # Hands over or drops the publications. Called without an open transaction, so each state is final.
    def settle
      @states.all?(&:committed?) ? hand_over : rolled_back
    end

    private

    def hand_over
      @hand_over.call(@encoded) if @pending.delete(self)
    end
  end
end
