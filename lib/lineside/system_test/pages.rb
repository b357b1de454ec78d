# frozen_string_literal: true

require "timeout"

module Lineside
  module SystemTest
    # Pages of this process's Capybara sessions: the current window of each session that a test has used. Without
    # Capybara, and with drivers that run no JavaScript, there are none.
    module Pages
      # Waits in a page until it is connected and has drawn what it received.
      SCRIPT = File.read(File.join(__dir__, "page.js"))

      # Maximum time of one call of the script, in seconds. Drivers end longer ones.
      SCRIPT_SECONDS_MAX = 1.0

      # Time for the answer beyond that, in seconds. The page is blocked if it needs longer.
      ANSWER_SECONDS_MAX = 1.0

      # Interval of looks at the requests under way, in seconds.
      PAUSE_SECONDS = 0.005

      # A page did not run the script.
      class Blocked < StandardError; end

      class << self
        # Waits until Capybara's servers have answered the requests under way, so that their transactions have ended.
        # @raise [NotSettled]
        def finish_requests(deadline)
          servers = sessions.filter_map(&:server).uniq
          # Capybara offers a wait of a minute only.
          while servers.any? { |server| server.send(:pending_requests?) }
            if SystemTest.now >= deadline
              paths = servers.flat_map { |server| server.send(:middleware).pending_requests }
              raise NotSettled, "requests under way: #{paths.join(', ')}"
            end

            sleep PAUSE_SECONDS
          end
        end

        # Waits until every page is connected and has drawn what it received.
        # @return [Boolean] whether one had to wait, so that there can be new publications and connections
        # @raise [NotSettled]
        def settle(deadline) = sessions.map { |session| settle_page(session, deadline) }.any?

        private

        # Capybara has no public list of its sessions.
        def sessions
          return [] unless defined?(::Capybara::Session)

          ::Capybara.send(:session_pool).values.select { |session| session.instance_variable_get(:@touched) }
        end

        def settle_page(session, deadline)
          has_waited = false
          loop do
            state = state(session, deadline) or return has_waited
            SystemTest.check_cable if state["streams"].positive?
            return has_waited || state["hasWaited"] if state["waits"].empty?

            fail_with(session, state["waits"].join(", ")) if SystemTest.now >= deadline
            has_waited = true
          end
        end

        # @return [Hash, nil] nil if the driver runs no JavaScript
        def state(session, deadline)
          seconds = (deadline - SystemTest.now).clamp(0, SCRIPT_SECONDS_MAX)
          Timeout.timeout(seconds + ANSWER_SECONDS_MAX, Blocked) do
            session.evaluate_async_script(SCRIPT, (seconds * 1000).to_i)
          end
        rescue ::Capybara::NotSupportedByDriverError
          nil
        rescue Blocked
          fail_with(session, "it runs no JavaScript: it is busy, stopped or shows a dialog")
        rescue StandardError => e
          # The page was replaced by another one meanwhile.
          fail_with(session, "#{e.class}: #{e.message}") if SystemTest.now >= deadline
          { "hasWaited" => true, "waits" => ["replaced"], "streams" => 0 }
        end

        def fail_with(session, reason)
          raise NotSettled, "the page of the Capybara session #{name(session)}: #{reason}"
        end

        # Key of the session in Capybara's list: driver, name and id of the app.
        def name(session) = ::Capybara.send(:session_pool).key(session).to_s.split(":")[1].inspect
      end
    end
  end
end
