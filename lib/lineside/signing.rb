# frozen_string_literal: true

module Lineside
  # Methods that sign tokens. A token tells the sidecar which channels a browser may read.
  module Signing
    # Signs a connection token, which identifies the user and grants channels.
    #
    # @param user [String, Integer, Object, nil] the user, identified by {UserId}, whose own channel is granted too; nil
    #   for an anonymous browser
    # @param channels [Array] shared channels subscribed on connect
    # @param allow [Array] channels, or prefixes ending in `:*`, that the browser may subscribe to
    # @param expires_in [Numeric, #to_i] lifetime in seconds, at most a day
    # @param session [Object, nil] session of the user, identified by {SessionId}, so that {Revocation#disconnect} can
    #   revoke this session alone. Ignored without a user
    # @return [String]
    # @raise [ArgumentError] if a name, a grant or the lifetime is invalid
    # @raise [ConfigurationError] if the secret is missing or invalid
    def token(user, channels: [], allow: [], expires_in: config.token_expires_in, session: nil)
      Native.sign_connection(
        config.secret,
        sub: sub(user), sid: (SessionId.of(session) unless user.nil? || session.nil?),
        channels: list(:channels, channels).map { |channel| ChannelName.of(channel) },
        allow: list(:allow, allow).map { |grant| grant(grant) }, seconds: lifetime(expires_in)
      )
    end

    # Signs a channel token, which grants one shared channel.
    #
    # @param user [String, Integer, Object, nil] the only user who may use the token; nil for any user
    # @param expires_in [Numeric, #to_i] lifetime in seconds, at most a day
    # @return [String]
    # @raise [ArgumentError, ConfigurationError] as {#token} does
    def channel_token(channel, user: nil, expires_in: config.token_expires_in)
      seconds = lifetime(expires_in)
      Native.sign_channel(config.secret, channel: ChannelName.of(channel), sub: sub(user), seconds:)
    end

    private

    def list(name, entries)
      return entries if entries.is_a?(Array)

      raise ArgumentError, "#{name}: #{entries.inspect[0, 64]} is not an Array: give #{name}: [\"news\"], for example"
    end

    def sub(user) = user.nil? ? nil : UserId.of(user, config)

    # A String can be a prefix instead of a channel name. The extension validates it.
    def grant(grant)
      return ChannelName.of(grant) unless grant.is_a?(String)

      ChannelName.utf8?(grant) or
        raise ArgumentError, "the grant #{grant.inspect} is #{grant.encoding}, not valid UTF-8"
      grant.start_with?("user:", "cable:") and
        raise ArgumentError, "the grant #{grant[0, 64].inspect} gives nothing: no grant opens user: or cable:. The " \
                             "channel of the token's user is granted anyway"
      grant
    end

    # Seconds of a number or an ActiveSupport::Duration, rounded down.
    def lifetime(expires_in)
      number = expires_in.respond_to?(:to_f) && !expires_in.is_a?(String) ? expires_in.to_f : 0.0
      return number.to_i if number.finite? && number >= 1

      raise ArgumentError, "expires_in: #{expires_in.inspect} is invalid: give seconds, from 1 to a day"
    end
  end
end
