# frozen_string_literal: true

module Lineside
  # Events through ActiveSupport::Notifications, where that is loaded:
  #
  # `publish.lineside`, around each call that publishes: `channels`, `once`, `deferred` (to a commit), `bytes` (of the
  # data as JSON, all of it) and `accepted`. What could not be encoded has no `bytes`, what raised no `accepted`.
  # `dropped.lineside`, once a second at most: how many publications were `not_accepted`, `dropped_aged` (too old before
  # they could be sent) and `refused` (by the sidecar) since the last time, and `remedy`. Each publication of a
  # publish_all counts, and a sign-out counts as one.
  # `link.lineside`, once a second at most: `state`, `:up` or `:down`, and `remedy` when it is down.
  module Instrumentation
    module_function

    # @return [Boolean] whether somebody would hear of it; nothing need be built for nobody
    def heard?(event)
      defined?(ActiveSupport::Notifications) && ActiveSupport::Notifications.notifier.listening?(event)
    end

    def tell(event, payload)
      ActiveSupport::Notifications.instrument(event, payload) if heard?(event)
    end

    # Runs the block as that event; what it returns is accepted, or not.
    def measure(event, payload)
      ActiveSupport::Notifications.instrument(event, payload) do
        yield.tap { |answer| payload[:accepted] = answer ? true : false }
      end
    end
  end
end
