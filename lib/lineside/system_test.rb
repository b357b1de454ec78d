# frozen_string_literal: true

require_relative "../lineside"
require_relative "system_test/channels"
require_relative "system_test/laggards"
require_relative "system_test/pages"
require_relative "system_test/publisher"
require_relative "system_test/sidecar"

module Lineside
  # System tests with real pages: a sidecar of this test process sends publications, and {#settle!} waits until every
  # page shows them. Loading this file adds it to `ActionDispatch::SystemTestCase`, and to RSpec's groups of the types
  # `system` and `feature`. All other tests of the process record publications as before.
  module SystemTest
    # Not every page has applied what was published.
    class NotSettled < Error; end

    # Waits until every connected page has applied everything that was published so far, and has drawn it. First waits
    # for the requests under way and for pages that are about to connect.
    #
    # @param timeout [Numeric] seconds
    # @return [void]
    # @raise [NotSettled] with the names of the pages that have not, and why
    # @raise [InTransaction] if publications wait for the commit of a transaction of this thread
    def settle!(timeout: 5) = SystemTest.settle(timeout)

    # Around each test of Minitest.
    module Hooks
      def before_setup
        SystemTest.enter
        @lineside_entered = true
        super
      end

      def after_teardown
        super
      ensure
        SystemTest.leave if @lineside_entered
        @lineside_entered = false
      end
    end

    @lock = Mutex.new
    @tests = 0

    class << self
      # Begins a test: publications are sent until {leave}. Starts the sidecar first, if this process has none.
      # @return [void]
      # @raise [Error] if the sidecar does not start
      def enter
        @lock.synchronize do
          start unless @sidecar&.own?
          begin_sending if @tests.zero?
          @tests += 1
        end
      end

      # Ends a test. After the last one of those that run at the same time, publications are recorded again.
      # @return [void]
      def leave
        @lock.synchronize do
          @tests -= 1
          stop_sending if @tests.zero?
        end
      end

      # Does the work of {SystemTest#settle!}.
      def settle(timeout)
        raise Error, "settle! works in system tests only: this test has not begun as one" if @tests.zero?

        refuse_transaction
        deadline = now + timeout
        loop do
          Pages.finish_requests(deadline)
          @channels.finish(deadline)
          flush(deadline)
          ask(deadline)
          break unless Pages.settle(deadline)
        end
      rescue NotSettled => e
        raise NotSettled, "not settled after #{timeout} s: #{e.message}"
      end

      # Raises if pages with streams of Turbo are not served by the sidecar.
      # @raise [Error]
      def check_cable
        # Loads the adapter's file.
        adapter = ::ActionCable.server.pubsub
        return if defined?(::ActionCable::SubscriptionAdapter::Lineside::Recording) &&
                  adapter.is_a?(::ActionCable::SubscriptionAdapter::Lineside::Recording)

        raise Error, "Action Cable uses #{adapter.class} in this test, so settle! does not see its pages: set " \
                     "adapter: lineside for the environment test in config/cable.yml, and do not include " \
                     "ActionCable::TestHelper in system tests"
      end

      def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

      private

      def start
        @tests = 0
        @sidecar = Sidecar.new(Lineside.config)
        @publisher = Publisher.new(Lineside.config)
        @channels = Channels.new
        link
      end

      # Waits for the link, so that the first page has a cursor.
      def link
        @publisher.connect
        deadline = now + Sidecar::START_SECONDS_MAX
        until @publisher.cursor
          raise Error, "no link to the sidecar of the system tests: #{@publisher.status}" if now >= deadline

          sleep Sidecar::PAUSE_SECONDS
        end
      end

      def begin_sending
        @record = Lineside.config.record
        Lineside.config.record = false
        @recorder = Lineside.replace_publisher(@publisher)
        @publisher.clear
      end

      def stop_sending
        Lineside.replace_publisher(@recorder)
        Lineside.config.record = @record
      end

      def refuse_transaction
        return if Deferred.pending.empty? || Transactions.open.empty?

        raise InTransaction, "settle! is called inside a transaction, whose publications wait for its commit: call " \
                             "it after the commit"
      end

      def flush(deadline)
        return if Lineside.flush(timeout: [deadline - now, 0].max)

        raise NotSettled, "the sidecar has not confirmed all publications: #{@publisher.status[:last_error]}"
      end

      def ask(deadline)
        laggards = Laggards.after(Lineside.config.link_path, [deadline - now, 0].max)
        return if laggards.empty?

        raise NotSettled, "these pages have not applied everything\n#{laggards.join("\n")}"
      rescue AppLink::Connection::Ended => e
        raise NotSettled, "the sidecar of the system tests: #{e.message}\n#{@sidecar.log}"
      end
    end
  end
end

if defined?(ActiveSupport.on_load)
  ActiveSupport.on_load(:action_dispatch_system_test_case) do
    include Lineside::SystemTest
    include Lineside::SystemTest::Hooks
  end
end

if defined?(RSpec::Core)
  RSpec.configure do |config|
    %i[system feature].each do |type|
      config.include(Lineside::SystemTest, type:)
      config.around(:each, type:) do |example|
        Lineside::SystemTest.enter
        begin
          example.run
        ensure
          Lineside::SystemTest.leave
        end
      end
    end
  end
end
