# frozen_string_literal: true

require_relative "test_transactions"

module Lineside
  # Open transactions of this thread or fiber, on all databases. Checks only connections that it already uses. Empty if
  # ActiveRecord is not loaded.
  module Transactions
    NONE = [].freeze
    # Result in a signal handler if ActiveRecord needs a lock to answer.
    UNKNOWN = [].freeze

    # Threads that have begun no transaction since they were last found to have none. Empty if the app isolates fibers,
    # because each fiber has its own transactions.
    NONE_BEGUN = ObjectSpace::WeakMap.new
    private_constant :NONE_BEGUN

    @changes = 0

    # Prepended to the class that begins every transaction.
    module Manager
      def begin_transaction(...)
        # Marked before the transaction opens, because a subscriber of its events may publish, and again after, because
        # a signal handler may publish meanwhile.
        Transactions.begun
        super.tap { Transactions.begun }
      end
    end

    class << self
      # @return [Boolean] true if this thread has begun no transaction since {.settled}, or without ActiveRecord. Takes
      #   less time than {.open}
      def none_begun? = NONE_BEGUN[Thread.current] || !loaded?

      def begun = NONE_BEGUN[Thread.current] = false

      # Called when {.open} has returned {NONE} and no deferred publication is left.
      def settled
        NONE_BEGUN[Thread.current] = true unless ExecutionState.fibers?
      end

      # @return [Array] the innermost open transaction of each connection, except those that a test opens around itself.
      #   {UNKNOWN} in a signal handler if ActiveRecord needs a lock to answer
      def open
        return NONE unless loaded?

        # Most calls find none, and then create no array.
        pools.any? { |pool| open_in(pool) } ? pools.filter_map { |pool| open_in(pool) } : NONE
      rescue ThreadError
        UNKNOWN
      end

      # @return [Object, nil] the innermost open transaction; nil if there is none, or only those that a test opens
      #   around itself
      def innermost(connection)
        # The connection's own method of this name delegates, which creates an array in Rails 6.1.
        transaction = connection.transaction_manager.current_transaction
        transaction if transaction.open? && !TestTransactions.include?(transaction)
      end

      # Whether ActiveRecord is loaded completely. Does not trigger its autoload. Once it is, begins to watch it.
      def loaded?
        return @loaded if @loaded || !defined?(ActiveRecord)

        @loaded = !ActiveRecord.autoload?(:Base) && ActiveRecord.const_defined?(:Base) &&
                  ActiveRecord::Base.respond_to?(:connection_handler) && watch
      end

      private

      def open_in(pool) = pool.active_connection?&.then { |connection| innermost(connection) }

      # Connection pools of all databases. Cached, because building the list costs more than the other steps.
      def pools
        handler = ActiveRecord::Base.connection_handler
        known_handler, known_changes, pools = @known
        return pools if handler.equal?(known_handler) && known_changes == @changes

        changes = @changes
        pools = handlers(handler).flat_map { |each| pools_of(each) }
        @known = [handler, changes, pools].freeze
        pools
      end

      # Connection handlers. An app before Rails 7.1 can have one for each role.
      def handlers(current)
        switch = [ActiveRecord::Base, ActiveRecord].find { |place| place.respond_to?(:legacy_connection_handling) }
        switch&.legacy_connection_handling ? ActiveRecord::Base.connection_handlers.values | [current] : [current]
      end

      def pools_of(handler)
        # Rails 6.1 lacks each_connection_pool, and Rails 7.2 lacks all_connection_pools.
        return handler.all_connection_pools unless handler.respond_to?(:each_connection_pool)

        handler.each_connection_pool(:all).to_a
      end

      # Clears the cache when a connection is established (the event that ActiveRecord's fixtures use) and after a fork.
      def watch
        forget = ->(*) { @changes += 1 }
        ActiveSupport::Notifications.subscribe("!connection.active_record", forget)
        ActiveSupport::ForkTracker.after_fork(&forget)
        ActiveRecord::ConnectionAdapters::TransactionManager.prepend(Manager)
        TestTransactions.watch(pools.filter_map(&:active_connection?))
        true
      end
    end
  end
end
