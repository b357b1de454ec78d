# frozen_string_literal: true

module Lineside
  # This process's end of the link. Every publication leaves through {#publish}. The extension behind it keeps the spool
  # and the one thread that writes; there is one per process, a forked child makes its own.
  class Publisher
    # @param config [Configuration]
    # @raise [ConfigurationError] if a setting cannot be used
    def initialize(config)
      @config = config
      @watch = Watch.new(config)
      Native.configure(
        link: config.link_path,
        name: File.basename($PROGRAM_NAME),
        secret: (config.secret if config.secret?),
        spool_bytes_max: config.spool_bytes_max,
        spool_seconds_max: config.spool_seconds_max,
        payload_bytes_max: config.payload_bytes_max
      )
    end

    # Hands publications over: all of them, or none. Inside a transaction their data is encoded at once, and they are
    # handed over after the commit; a rollback drops them.
    #
    # @param publications [Array<Array(String, Object)>] full names of channels, each with its data
    # @param once [String, nil] the id under which a single one lands once
    # @param timeout [Float, nil] seconds to wait for the sidecar to take a single one; nil returns at once
    # @param now [Boolean] whether to go round open transactions
    # @return [Boolean, Receipt] whether they were accepted, or what the sidecar answered
    # @raise [ArgumentError, PayloadTooLarge] for data that cannot be published
    # @raise [InTransaction, NotAccepted, Unconfirmed, Refused] with a timeout only
    def publish(publications, once: nil, timeout: nil, now: false)
      transactions = now ? Transactions::NONE : open_transactions
      return hand_over(publications, once, timeout, transactions) unless Instrumentation.heard?("publish.lineside")

      event = { channels: publications.map(&:first), once:, deferred: !transactions.empty? }
      Instrumentation.measure("publish.lineside", event) do
        hand_over(publications, once, timeout, transactions) { event[:bytes] = Native.encoded_bytes }
      end
    end

    # Hands a sign-out over: the end of all tokens made by now, in order with what is published.
    #
    # @param user [String] the id
    # @param session [String, nil] the id of the only one that is meant
    # @param timeout [Float, nil] seconds to wait for the sidecar to take it; nil returns at once
    # @return [Boolean, Receipt] as {#publish}
    # @raise [NotAccepted, Unconfirmed, Refused] with a timeout only
    def disconnect(user, session, timeout: nil)
      @watch.start
      answered(Native.disconnect(user, session, !timeout.nil?), 1, timeout)
    end

    # @param timeout [Float] seconds
    # @return [Boolean] whether the sidecar has all that was accepted so far
    def flush(timeout) = Native.flush(timeout)

    # @return [String, nil]
    def cursor = Native.cursor

    # Opens the link in the background, so that the cursor is known before the first publication.
    def connect
      @watch.start
      Native.connect
    end

    # Called when another takes its place.
    def retire = @watch.stop

    # @return [Hash] how the link is and what was counted; an unstable interface for logs and specs
    def status = Native.status

    # Gives what is still in the spool a last second, and says what it leaves behind. Publishing goes on working.
    def close
      @watch.stop
      Native.flush(1.0)
      @watch.close
    end

    private

    # Those that a publication waits for. Ones that are not joinable are made around tests, and never commit.
    def open_transactions
      open = Transactions.open
      Held.settle if open.empty?
      open.empty? ? open : open.select(&:joinable?)
    end

    # Yields once the data is encoded, before anything is waited for.
    def hand_over(publications, once, timeout, transactions, &)
      @watch.start
      return hold(publications, once, timeout, transactions, &) unless transactions.empty?

      accepted = Native.publish(publications, once, !timeout.nil?)
      yield if block_given?
      answered(accepted, publications.size, timeout)
    end

    # @param accepted [Integer, String] the number of the hand-over, or why there is none
    def answered(accepted, count, timeout)
      return accepted?(accepted, count) unless timeout
      return receipt(Native.wait(accepted, timeout), timeout) if accepted.is_a?(Integer)

      raise NotAccepted, "it was not accepted, #{accepted}: #{trouble}"
    end

    def hold(publications, once, timeout, transactions)
      if timeout
        raise InTransaction, "publish! would wait inside a transaction for what is sent after its commit: " \
                             "publish after the commit, or give now: true to publish before it"
      end
      parcel = Native.hold(publications, once)
      yield if block_given?
      return accepted?(parcel, publications.size) if parcel.is_a?(String)

      Held.new(parcel, transactions) { accepted?(Native.publish_held(parcel), publications.size) }
      true
    end

    # @param accepted [Integer, String] the number of the hand-over, or why there is none
    def accepted?(accepted, count)
      return true if accepted.is_a?(Integer)

      @watch.not_accepted(count, accepted)
      false
    end

    def receipt(answer, timeout)
      case answer
      in [:receipt, cursor, duplicate] then Receipt.new(cursor, duplicate)
      in [:refused, code, message] then raise Refused.new("the sidecar refused it: #{message}", code)
      in [:timed_out]
        raise Unconfirmed, "no answer within #{timeout} s, so it may arrive yet (#{trouble}): " \
                           "to retry a publication, give the same once: both times"
      in [:dropped]
        raise NotAccepted, "it grew older than #{@config.spool_seconds_max} s in the spool: #{trouble}"
      end
    end

    def trouble = Native.status[:last_error] || "the sidecar is slow, or stopped"
  end
end
