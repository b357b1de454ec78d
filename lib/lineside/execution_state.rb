# frozen_string_literal: true

module Lineside
  # Variables of the current thread, or of the current fiber if the app isolates fibers (Rails 7 and later). Used only
  # after ActiveSupport is loaded.
  module ExecutionState
    class << self
      def get(key) = isolated? ? ActiveSupport::IsolatedExecutionState[key] : Thread.current.thread_variable_get(key)

      def set(key, value)
        return ActiveSupport::IsolatedExecutionState[key] = value if isolated?

        # Not a variable of the fiber, because a streamed layout is rendered in another one.
        Thread.current.thread_variable_set(key, value)
      end

      # @return [Boolean] whether the app isolates fibers
      def fibers? = isolated? && ActiveSupport::IsolatedExecutionState.isolation_level == :fiber

      private

      def isolated?
        return @isolated unless @isolated.nil?

        @isolated = !defined?(ActiveSupport::IsolatedExecutionState).nil?
      end
    end
  end
end
