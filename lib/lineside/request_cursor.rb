# frozen_string_literal: true

module Lineside
  # Cursor of the current request or job. Rails' executor samples it at the beginning, before any query, so that all
  # data of the page is at least as new. A later sample, such as in the layout, would skip publications between the
  # query and the layout.
  module RequestCursor
    # Cursor without a position. A page with it resumes as lost and refetches its data.
    UNKNOWN = "unknown"

    # @return [String] newest cursor known when this request or job began; "unknown" outside of both, or if this process
    #   has no link yet. In that case the call opens the link for later requests.
    def request_cursor
      RequestCursor.sampled || begin
        cursor
        UNKNOWN
      end
    end

    # Samples the cursor if this process uses the link. Opens no link, so that a console or a job that never publishes
    # has none.
    # @return [void]
    def sample_request_cursor
      RequestCursor.sampled = @publisher&.cursor
    end

    # @return [void]
    def forget_request_cursor
      RequestCursor.sampled = nil
    end

    class << self
      def sampled = ExecutionState.get(:lineside_request_cursor)

      def sampled=(cursor)
        ExecutionState.set(:lineside_request_cursor, cursor)
      end
    end
  end
end

Lineside.extend(Lineside::RequestCursor)
