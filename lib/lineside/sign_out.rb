# frozen_string_literal: true

module Lineside
  # The verbs that sign people out. From then on no token that was made before holds, wherever it comes from, and the
  # sockets that came with one are closed within moments (close code 4002, `token_revoked`). A token that is made
  # afterwards, for whoever signs in again, holds.
  #
  # They leave at once, inside a transaction too, and in order with what this process publishes. The sidecar remembers a
  # sign-out for as long as the longest token lives, a day, across planned restarts but not when it is killed: for what
  # must hold beyond that, keep tokens short (`expires_in:`).
  module SignOut
    # Signs a user out and returns at once. Part of the spool is kept for this, beyond what publications may fill.
    #
    # @param user [String, Integer, Object] as {UserId} reads it
    # @param session [Object, nil] as {SessionId} reads it: only sockets and tokens of that one; nil for all of them.
    #   Channel tokens name no session: those made for the user (`channel_token(…, user:)`) end with all of them only.
    # @return [Boolean] whether it was accepted: handed over to be sent. Like a publication it is dropped, and that is
    #   told, if the sidecar is away for longer than `spool_seconds_max`
    # @raise [ArgumentError] for nobody, and for what cannot be a session
    def disconnect(user, session: nil)
      publisher.disconnect(UserId.of(user, config), session&.then { |it| SessionId.of(it) })
    end

    # Signs a user out and waits until the sidecar has it: no token made before opens anything from here on.
    #
    # @param timeout [Numeric] seconds
    # @return [Receipt]
    # @raise [Unconfirmed] if no answer came in time; to repeat it does no harm
    # @raise [NotAccepted, Refused] if it certainly did not happen
    def disconnect!(user, session: nil, timeout: 2)
      session = session&.then { |it| SessionId.of(it) }
      publisher.disconnect(UserId.of(user, config), session, timeout: seconds(timeout))
    end
  end
end
