# frozen_string_literal: true

module Lineside
  # Cursor of the current request or job. Rails' executor samples it at the beginning, before any query, so that all
  # data of the page is at least as new. A later sample, such as in the layout, would skip publications between the
  # query and the layout. A replica lags behind, so the cursor is moved back by `config.lineside.replica_lag` once the
  # request has switched to another role than the writing one.
  module RequestCursor
    # Cursor without a position. A page with it resumes as lost and refetches its data.
    UNKNOWN = "unknown"

    Sample = Struct.new(:cursor, :time, :reads_replica)
    private_constant :Sample

    # Prepended to ActiveRecord::Base's methods that switch roles.
    module Roles
      def connected_to(role: nil, **options, &)
        RequestCursor.role_changed(role)
        super
      end

      def connected_to_many(*classes, role:, **options, &)
        RequestCursor.role_changed(role)
        super
      end

      def connecting_to(role: default_role, **options)
        RequestCursor.role_changed(role)
        super
      end
    end

    # @return [String] newest cursor known when this request or job began, or before that by the replica lag; "unknown"
    #   outside of both, or if this process has no link yet. In that case the call opens the link for later requests.
    #   Also "unknown" if this process has been linked for less than the replica lag.
    def request_cursor
      sample = RequestCursor.sampled
      if sample&.cursor
        return sample.cursor unless sample.reads_replica && config.replica_lag

        return publisher.cursor_at(sample.time - config.replica_lag) || UNKNOWN
      end
      cursor
      UNKNOWN
    end

    # Moves the cursor of this request back by `config.lineside.replica_lag`. Called when Rails switches to a replica;
    # call it if the request reads from one in another way, such as through a proxy.
    # @return [void]
    def request_reads_replica
      RequestCursor.sampled&.reads_replica = true
    end

    # Samples the cursor if this process uses the link. Opens no link, so that a console or a job that never publishes
    # has none.
    # @return [void]
    def sample_request_cursor
      RequestCursor.sampled = Sample.new(@publisher&.cursor, CursorHistory.now, false)
    end

    # @return [void]
    def forget_request_cursor
      RequestCursor.sampled = nil
    end

    class << self
      def sampled = ExecutionState.get(:lineside_request_cursor)

      def sampled=(sample)
        ExecutionState.set(:lineside_request_cursor, sample)
      end

      def role_changed(role)
        Lineside.request_reads_replica unless role.nil? || role == writing_role
      end

      private

      # Rails 7.0 moved the setting.
      def writing_role = (ActiveRecord.respond_to?(:writing_role) ? ActiveRecord : ActiveRecord::Base).writing_role
    end
  end
end

Lineside.extend(Lineside::RequestCursor)
