# frozen_string_literal: true

module Lineside
  # ActiveRecord's transactions that are open in this thread, on all databases. It looks only at connections that the
  # thread already has, and where ActiveRecord is not loaded there are none.
  module Transactions
    NONE = [].freeze

    @changes = 0

    class << self
      # @return [Array] the innermost transaction of each connection that is in one
      def open
        return NONE unless loaded?

        pools.filter_map { |pool| open_in(pool) }
      end

      private

      def open_in(pool)
        # Despite its name, it gives the connection.
        transaction = pool.active_connection?&.current_transaction
        transaction if transaction&.open?
      end

      # Whether it is loaded wholly: asking for a constant that waits for its autoload would load it.
      def loaded?
        return @loaded if @loaded || !defined?(ActiveRecord)

        @loaded = !ActiveRecord.autoload?(:Base) && ActiveRecord.const_defined?(:Base) &&
                  ActiveRecord::Base.respond_to?(:connection_handler) && forget_when_changed
      end

      # The pools of all databases. Kept, since making the list costs more than all the rest.
      def pools
        handler = ActiveRecord::Base.connection_handler
        known_handler, known_changes, pools = @known
        return pools if handler.equal?(known_handler) && known_changes == @changes

        changes = @changes
        pools = handlers(handler).flat_map { |each| pools_of(each) }
        @known = [handler, changes, pools].freeze
        pools
      end

      # One, but until Rails 7.0 an app may keep one for each role.
      def handlers(current)
        switch = [ActiveRecord::Base, ActiveRecord].find { |place| place.respond_to?(:legacy_connection_handling) }
        switch&.legacy_connection_handling ? ActiveRecord::Base.connection_handlers.values | [current] : [current]
      end

      def pools_of(handler)
        # Rails 6.1 has no enumerator, and 7.2 no list of all.
        return handler.all_connection_pools unless handler.respond_to?(:each_connection_pool)

        handler.each_connection_pool(:all).to_a
      end

      # ActiveRecord's own fixtures hear of new connections so; a forked child gets new pools.
      def forget_when_changed
        forget = ->(*) { @changes += 1 }
        ActiveSupport::Notifications.subscribe("!connection.active_record", forget)
        ActiveSupport::ForkTracker.after_fork(&forget)
        true
      end
    end
  end
end
