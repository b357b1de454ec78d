# frozen_string_literal: true

module Lineside
  # Methods that publish. Data is anything that ActiveSupport's JSON encodes. A channel is a String, a record or an
  # array of them ({ChannelName}). Invalid arguments raise ArgumentError or {PayloadTooLarge}. A missing or slow sidecar
  # raises no error.
  #
  # Inside an ActiveRecord transaction the data is encoded at the call and sent after the commit. A rollback of the
  # transaction, or of a savepoint around the call, drops it. If several databases are in a transaction, all must
  # commit. Publications that wait count as accepted, and their size counts towards `spool_bytes_max`. `now: true`
  # publishes at once.
  module Publishing
    # Maximum length of a `once:` id, in bytes.
    ONCE_BYTES_MAX = 255

    # Maximum `timeout:`, in seconds.
    WAIT_SECONDS_MAX = 3600

    # Default of the data argument, because nil is valid data.
    NO_DATA = Object.new.freeze
    private_constant :NO_DATA

    # @!method publish(channel, data, once: nil, now: false)
    # Publishes on a shared channel and returns at once.
    #
    # @param once [String, nil] id by which the sidecar drops duplicates on this channel
    # @param now [Boolean] whether to publish at once inside a transaction
    # @return [Boolean] whether it was accepted: to be sent at once, or after the commit

    # @!method publish_to(user, data, once: nil, now: false)
    # Publishes to one user, on all their devices, and returns at once.
    #
    # @param user [String, Integer, Object] the user, identified by {UserId}
    # @return [Boolean] whether it was accepted

    # Publishes on a shared channel and waits for the sidecar's confirmation.
    #
    # @param timeout [Numeric] seconds
    # @return [Receipt]
    # @raise [Unconfirmed] if there was no answer in time; retry with `once:`
    # @raise [InTransaction] inside a transaction, unless `now:`
    # @raise [NotAccepted, Refused] if it was definitely not published
    def publish!(channel, data = NO_DATA, once: nil, timeout: 2, now: false, **bare) # rubocop:disable Metrics/ParameterLists -- four of them are options
      publication = [ChannelName.of(channel), given(data, bare)]
      publisher.publish([publication], once: once_id(once), timeout: seconds(timeout), now:)
    end

    # Publishes several publications at once, in their order: all or none.
    #
    # @param publications [Array<Array(Object, Object)>] pairs of a channel and data
    # @return [Boolean] whether they were accepted
    def publish_all(publications, now: false)
      pairs = Array(publications).map do |publication|
        next [ChannelName.of(publication[0]), publication[1]] if publication.is_a?(Array) && publication.size == 2

        raise ArgumentError, "publish_all takes pairs of a channel and data, such as [[\"orders\", { id: 7 }]]"
      end
      pairs.empty? || publisher.publish(pairs, now:)
    end

    # Waits until the sidecar has confirmed everything accepted so far, except publications that wait for a commit.
    #
    # @param timeout [Numeric] seconds
    # @return [Boolean] false if the time-out elapsed
    # @raise [Unconfirmed] if this process has no file descriptor to wait with
    def flush(timeout: 1) = publisher.flush(seconds(timeout))

    # @return [String, nil] newest cursor known to this process, without a round trip; nil before the first link
    def cursor = publisher.cursor

    private

    # Called by the extension, which defines publish and publish_to, for each call with keywords or with another number
    # of arguments, and for each call that is not {#direct?}.
    def publish_with(channel, data = NO_DATA, once: nil, now: false, **bare)
      publisher.publish([[ChannelName.of(channel), given(data, bare)]], once: once_id(once), now:)
    end

    def publish_to_with(user, data = NO_DATA, once: nil, now: false, **bare)
      publisher.publish([[ChannelName.of_user(user, config), given(data, bare)]], once: once_id(once), now:)
    end

    # Whether the extension can hand a publication over itself.
    def direct? = publisher.direct?

    def channel_name(channel) = ChannelName.of(channel)

    def user_channel_name(user) = ChannelName.of_user(user, config)

    # The extension has handed over a publication, which was not accepted.
    def not_accepted(reason) = publisher.not_accepted(reason)

    def given(data, bare)
      unless bare.empty?
        raise ArgumentError, "unknown keywords #{bare.keys.map(&:inspect).join(', ')}: " \
                             "if they are the data, wrap the data in { }"
      end
      return data unless data.equal?(NO_DATA)

      raise ArgumentError, "there is no data: give it after the channel, such as publish(\"orders\", nil)"
    end

    # Seconds of a number or an ActiveSupport::Duration.
    def seconds(timeout)
      number = timeout.to_f if timeout.respond_to?(:to_f) && !timeout.nil? && !timeout.is_a?(String)
      return number if number&.finite? && number&.between?(0, WAIT_SECONDS_MAX)

      raise ArgumentError, "timeout: #{timeout.inspect} is invalid: give seconds, 0 to #{WAIT_SECONDS_MAX}"
    end

    def once_id(once)
      return if once.nil?

      id = once.is_a?(Integer) || once.is_a?(Symbol) ? once.to_s : once
      return id if id.is_a?(String) && ChannelName.utf8?(id) && id.bytesize.between?(1, ONCE_BYTES_MAX)

      raise ArgumentError, "once: #{once.inspect[0, 64]} is invalid: give 1 to #{ONCE_BYTES_MAX} bytes of UTF-8"
    end
  end
end
