# frozen_string_literal: true

module Lineside
  # The verbs that publish. Data is anything ActiveSupport's JSON takes; a channel is a String, a record or an array of
  # them ({ChannelName}). What cannot be published raises ArgumentError or {PayloadTooLarge}; an absent or slow sidecar
  # raises nothing.
  #
  # Inside an ActiveRecord transaction the data is encoded at the call and leaves after the commit; a rollback drops it,
  # and so does that of a savepoint around it. With several databases in a transaction all have to commit. What waits
  # counts as accepted, and its bytes count for `spool_bytes_max`. `now: true` goes round all that.
  module Publishing
    # Longest `once:` id, in bytes.
    ONCE_BYTES_MAX = 255

    # Longest wait for the sidecar, in seconds.
    WAIT_SECONDS_MAX = 3600

    # Stands for data that was not given: nil is data.
    NO_DATA = Object.new.freeze
    private_constant :NO_DATA

    # Publishes on a shared channel and returns at once.
    #
    # @param once [String, nil] lands once per channel under this id, however often it is retried
    # @param now [Boolean] leaves at once inside a transaction too
    # @return [Boolean] whether it was accepted: handed over to be sent, or to wait for the commit
    def publish(channel, data = NO_DATA, once: nil, now: false, **bare)
      publisher.publish([[ChannelName.of(channel), given(data, bare)]], once: once_id(once), now:)
    end

    # Publishes on a shared channel and waits until the sidecar has it.
    #
    # @param timeout [Numeric] seconds
    # @return [Receipt]
    # @raise [Unconfirmed] if no answer came in time; retry with `once:`
    # @raise [InTransaction] inside a transaction, unless `now:`
    # @raise [NotAccepted, Refused] if it certainly was not published
    def publish!(channel, data = NO_DATA, once: nil, timeout: 2, now: false, **bare) # rubocop:disable Metrics/ParameterLists -- four of them are options
      publication = [ChannelName.of(channel), given(data, bare)]
      publisher.publish([publication], once: once_id(once), timeout: seconds(timeout), now:)
    end

    # Publishes to one user, on all their devices, and returns at once.
    #
    # @param user [String, Integer, Object] as {UserId} reads it
    # @return [Boolean] whether it was accepted
    def publish_to(user, data = NO_DATA, once: nil, now: false, **bare)
      publisher.publish([[ChannelName.of_user(user, config), given(data, bare)]], once: once_id(once), now:)
    end

    # Publishes several at once, in their order: all of them, or none.
    #
    # @param publications [Array<Array(Object, Object)>] channels, each with its data
    # @return [Boolean] whether they were accepted
    def publish_all(publications, now: false)
      pairs = Array(publications).map do |publication|
        next [ChannelName.of(publication[0]), publication[1]] if publication.is_a?(Array) && publication.size == 2

        raise ArgumentError, "publish_all takes pairs of a channel and data, such as [[\"orders\", { id: 7 }]]"
      end
      pairs.empty? || publisher.publish(pairs, now:)
    end

    # @param timeout [Numeric] seconds
    # @return [Boolean] whether the sidecar has all that was accepted so far, but for what waits for a commit
    def flush(timeout: 1) = publisher.flush(seconds(timeout))

    # @return [String, nil] the newest position known here, without a round trip; nil before the first link
    def cursor = publisher.cursor

    private

    def given(data, bare)
      unless bare.empty?
        raise ArgumentError, "unknown keywords #{bare.keys.map(&:inspect).join(', ')}: " \
                             "if they are the data, wrap the data in { }"
      end
      return data unless data.equal?(NO_DATA)

      raise ArgumentError, "there is no data: give it after the channel, nil if there is none to say"
    end

    # Seconds of a number or an ActiveSupport::Duration.
    def seconds(timeout)
      number = timeout.to_f if timeout.respond_to?(:to_f) && !timeout.nil? && !timeout.is_a?(String)
      return number if number&.finite? && number&.between?(0, WAIT_SECONDS_MAX)

      raise ArgumentError, "a timeout of #{timeout.inspect} cannot be used: give seconds, 0 to #{WAIT_SECONDS_MAX}"
    end

    def once_id(once)
      return if once.nil?

      id = once.is_a?(Integer) || once.is_a?(Symbol) ? once.to_s : once
      return id if id.is_a?(String) && ChannelName.utf8?(id) && id.bytesize.between?(1, ONCE_BYTES_MAX)

      raise ArgumentError, "once: #{once.inspect[0, 64]} cannot be used: give 1 to #{ONCE_BYTES_MAX} bytes of UTF-8"
    end
  end
end
