# frozen_string_literal: true

module Lineside
  # Users whom the current request has signed out by {Revocation#disconnect}, so that its response deletes the identity
  # cookie.
  module RequestRevocations
    # Maximum number of users remembered for a request. A sign-out names one.
    USERS_MAX = 16

    def disconnect(user, **options)
      super.tap { remember(user) }
    end

    def disconnect!(user, **options)
      super.tap { remember(user) }
    end

    # @return [Boolean] whether this request has signed out the user, or without one, anybody
    def disconnected?(user = nil)
      users = ExecutionState.get(:lineside_disconnected).to_a
      user ? users.include?(UserId.of(user, config)) : users.any?
    end

    # @return [void]
    def begin_request = ExecutionState.set(:lineside_disconnected, [])

    # @return [void]
    def end_request = ExecutionState.set(:lineside_disconnected, nil)

    private

    # Outside a request, nothing is remembered.
    def remember(user)
      users = ExecutionState.get(:lineside_disconnected)
      users << UserId.of(user, config) if users && users.size < USERS_MAX
    end
  end
end

Lineside.singleton_class.prepend(Lineside::RequestRevocations)
