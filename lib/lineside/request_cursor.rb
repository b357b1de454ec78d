# frozen_string_literal: true

module Lineside
  # The cursor of what is under way in this thread: a request, or a job. The engine has Rails' executor sample it when
  # that begins, before any query, so that all that a page reads is at least as new. Sampled later, in the layout say,
  # it would skip in silence what was published between query and layout.
  module RequestCursor
    # Stands for a position that nobody knows: it resumes as lost, so that the page fetches anew.
    UNKNOWN = "unknown"

    # @return [String] the newest position known when this request or job began; "unknown" outside of both, and while
    #   this process has no link yet. Then it opens one, for the next request.
    def request_cursor
      RequestCursor.sampled || begin
        cursor
        UNKNOWN
      end
    end

    # Samples, unless nothing here has used the link yet: a console or a job that never publishes opens none.
    # @return [void]
    def sample_request_cursor
      RequestCursor.sampled = @publisher&.cursor
    end

    # @return [void]
    def forget_request_cursor
      RequestCursor.sampled = nil
    end

    class << self
      # Rails 7 has a place of its own for what belongs to an execution: the thread's, or the fiber's where the app says
      # so. Before, a variable of the thread, since a streamed layout is rendered in another fiber.
      if defined?(ActiveSupport::IsolatedExecutionState)
        def sampled = ActiveSupport::IsolatedExecutionState[:lineside_request_cursor]

        def sampled=(cursor)
          ActiveSupport::IsolatedExecutionState[:lineside_request_cursor] = cursor
        end
      else
        def sampled = Thread.current.thread_variable_get(:lineside_request_cursor)

        def sampled=(cursor)
          Thread.current.thread_variable_set(:lineside_request_cursor, cursor)
        end
      end
    end
  end
end

Lineside.extend(Lineside::RequestCursor)
