# frozen_string_literal: true

module Lineside
  # The verbs that make tokens: signed strings that tell the sidecar what a browser may read.
  module Signing
    # A connection token: identifies the browser and opens channels.
    #
    # @param user [String, Integer, Object, nil] as {UserId} reads it, whose own channel is opened with all the others;
    #   nil for an anonymous browser, which gets no user's channel
    # @param channels [Array] shared channels that are subscribed on connect
    # @param allow [Array] channels, or prefixes ending in `:*`, that may be subscribed on request
    # @param expires_in [Numeric, #to_i] seconds, up to a day
    # @param session [Object, nil] as {SessionId} reads it, so that {SignOut#disconnect} can end this session alone
    # @return [String]
    # @raise [ArgumentError] for a name, a grant or a life that cannot be
    # @raise [ConfigurationError] if there is no secret, or one that cannot be used
    def token(user, channels: [], allow: [], expires_in: config.token_expires_in, session: nil)
      Native.sign_connection(
        config.secret,
        sub: sub(user), sid: session&.then { |it| SessionId.of(it) },
        channels: list(:channels, channels).map { |channel| ChannelName.of(channel) },
        allow: list(:allow, allow).map { |grant| grant(grant) }, seconds: life(expires_in)
      )
    end

    # A channel token: opens one shared channel.
    #
    # @param user [String, Integer, Object, nil] the only one who may use it; nil for whoever holds it
    # @param expires_in [Numeric, #to_i] seconds, up to a day
    # @return [String]
    # @raise [ArgumentError, ConfigurationError] as {#token} does
    def channel_token(channel, user: nil, expires_in: config.token_expires_in)
      Native.sign_channel(config.secret, channel: ChannelName.of(channel), sub: sub(user), seconds: life(expires_in))
    end

    private

    def list(name, entries)
      return entries if entries.is_a?(Array)

      raise ArgumentError, "#{name}: #{entries.inspect[0, 64]} is no Array: give #{name}: [\"news\"], for example"
    end

    def sub(user) = user.nil? ? nil : UserId.of(user, config)

    # A String may be a prefix, which names no channel; the extension checks it.
    def grant(grant)
      return ChannelName.of(grant) unless grant.is_a?(String)
      return grant if ChannelName.utf8?(grant)

      raise ArgumentError, "the grant #{grant.inspect} is #{grant.encoding}, not valid UTF-8"
    end

    # Seconds of a number or an ActiveSupport::Duration, rounded down.
    def life(expires_in)
      number = expires_in.respond_to?(:to_f) && !expires_in.is_a?(String) ? expires_in.to_f : 0.0
      return number.to_i if number.finite? && number >= 1

      raise ArgumentError, "expires_in: #{expires_in.inspect} cannot be used: give seconds, from 1 to a day"
    end
  end
end
