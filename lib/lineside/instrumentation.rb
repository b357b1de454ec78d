# frozen_string_literal: true

module Lineside
  # Events through ActiveSupport::Notifications, if that is loaded:
  #
  # `publish.lineside`, around each call that publishes: `channels`, `once`, `deferred` (until a commit), `bytes` (total
  # of the data as JSON) and `accepted`. `bytes` is missing if the data could not be encoded, `accepted` if the call
  # raised.
  # `dropped.lineside`, at most once a second: numbers of publications `not_accepted`, `dropped_aged` (older than
  # `spool_seconds_max` in the spool) and `refused` (by the sidecar) since the last event, and `remedy`. Each
  # publication of a publish_all counts, and a revocation counts as one.
  # `link.lineside`, at most once a second: `state`, `:up` or `:down`, and `remedy` if it is down.
  module Instrumentation
    # Cannot be locked in a signal handler.
    PROBE = Mutex.new
    private_constant :PROBE

    module_function

    # @return [Boolean] whether the event has a subscriber; false in a signal handler, where neither ActiveSupport nor a
    #   logger can take its locks
    def listening?(event)
      return false unless defined?(ActiveSupport::Notifications)

      ActiveSupport::Notifications.notifier.listening?(event) && PROBE.synchronize { true }
    rescue ThreadError
      false
    end

    def notify(event, payload)
      ActiveSupport::Notifications.instrument(event, payload) if listening?(event)
    end

    # Instruments the block. Sets `accepted` to whether its result is truthy.
    def measure(event, payload)
      ActiveSupport::Notifications.instrument(event, payload) do
        yield.tap { |answer| payload[:accepted] = answer ? true : false }
      end
    end
  end
end
