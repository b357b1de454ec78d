# frozen_string_literal: true

module Lineside
  # Methods that revoke a user's tokens, as at sign-out. Tokens signed before the call are refused from then on, and the
  # sockets opened with them are closed at once (close code 4002, `token_revoked`). Tokens signed after the call are
  # valid.
  #
  # A revocation is sent at once, also inside a transaction, and in order with this process's publications. The sidecar
  # stores it for a day, the maximum lifetime of a token, and keeps it across planned restarts. If the sidecar is
  # killed, revocations are lost: use short lifetimes (`expires_in:`) for sensitive channels.
  module Revocation
    # Revokes a user's tokens and returns at once. Uses a part of the spool that is reserved for revocations.
    #
    # @param user [String, Integer, Object] the user, identified by {UserId}
    # @param session [Object, nil] revokes only the tokens and sockets of this session, identified by {SessionId}; nil
    #   revokes all. Channel tokens have no session: only a revocation of all sessions revokes those with a user
    #   (`channel_token(…, user:)`).
    # @return [Boolean] whether it was accepted to be sent. Like a publication, it is dropped and reported if the
    #   sidecar is unavailable for longer than `spool_seconds_max`
    # @raise [ArgumentError] if there is no user, or the session is invalid
    def disconnect(user, session: nil)
      publisher.disconnect(UserId.of(user, config), session&.then { |it| SessionId.of(it) })
    end

    # Revokes a user's tokens and waits for the sidecar's confirmation. Once it returns, earlier tokens are refused.
    #
    # @param timeout [Numeric] seconds
    # @return [Receipt]
    # @raise [Unconfirmed] if there was no answer in time; it is safe to retry
    # @raise [NotAccepted, Refused] if the tokens were definitely not revoked
    def disconnect!(user, session: nil, timeout: 2)
      session = session&.then { |it| SessionId.of(it) }
      publisher.disconnect(UserId.of(user, config), session, timeout: seconds(timeout))
    end
  end
end
