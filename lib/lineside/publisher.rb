# frozen_string_literal: true

require_relative "printable"

module Lineside
  # Publisher of this process. The extension keeps the spool and a writer thread. It hands a publication over itself if
  # {#direct?} is true. All others go through {#publish}, so a module that overrides {#publish} must also override
  # {#direct?}. A forked child creates its own.
  class Publisher
    # @param config [Configuration]
    # @raise [ConfigurationError] if a setting is invalid
    def initialize(config)
      @config = config
      @monitor = LinkMonitor.new(config)
      Native.configure(
        link: config.link_path,
        name: Printable.of(File.basename($PROGRAM_NAME)),
        secret: (config.secret if config.secret?),
        spool_bytes_max: config.spool_bytes_max,
        spool_seconds_max: config.spool_seconds_max,
        payload_bytes_max: config.payload_bytes_max
      )
    end

    # Hands publications to the extension: all or none. Inside a transaction the data is encoded at once and handed over
    # after the commit; a rollback drops it.
    #
    # @param publications [Array<Array(String, Object)>] pairs of a channel's full name and data
    # @param once [String, nil] id by which the sidecar drops duplicates, for a single publication
    # @param timeout [Float, nil] seconds to wait for the sidecar's answer, for a single publication; nil returns at
    #   once
    # @param now [Boolean] whether to publish at once inside a transaction
    # @return [Boolean, Receipt] whether they were accepted; with a timeout, the receipt
    # @raise [ArgumentError, PayloadTooLarge] if the data cannot be published
    # @raise [InTransaction, NotAccepted, Unconfirmed, Refused] only with a timeout
    def publish(publications, once: nil, timeout: nil, now: false)
      transactions = now ? Transactions::NONE : open_transactions
      return hand_over(publications, once, timeout, transactions) unless Instrumentation.listening?("publish.lineside")

      event = { channels: publications.map(&:first), once:, deferred: !transactions.empty? }
      Instrumentation.measure("publish.lineside", event) do
        hand_over(publications, once, timeout, transactions, event)
      end
    end

    # @return [Boolean] true outside transactions if `publish.lineside` has no subscriber. Starts the monitor then
    def direct?
      return false if !open_transactions.empty? || Instrumentation.listening?("publish.lineside")

      @monitor.start
      true
    end

    # Counts a publication that the extension did not accept.
    #
    # @param reason [String]
    # @return [Boolean] false
    def not_accepted(reason) = accepted?(reason, 1)

    # Revokes all tokens of a user that were signed until now. The revocation keeps its order with the publications.
    #
    # @param user [String] id of the user
    # @param session [String, nil] id of a session; nil for all sessions
    # @param timeout [Float, nil] seconds to wait for the sidecar's answer; nil returns at once
    # @return [Boolean, Receipt] as {#publish}
    # @raise [NotAccepted, Unconfirmed, Refused] only with a timeout
    def disconnect(user, session, timeout: nil)
      @monitor.start
      result(Native.disconnect(user, session, !timeout.nil?), 1, timeout)
    end

    # @param timeout [Float] seconds
    # @return [Boolean] whether the sidecar has confirmed everything accepted so far
    def flush(timeout) = wait { Native.flush(timeout) }

    # @return [String, nil] newest known cursor; nil before the first link
    def cursor = Native.cursor

    # @param time [Float] seconds of {CursorHistory.now}
    # @return [String, nil] newest cursor that was known then; nil if that is unknown
    def cursor_at(time) = @monitor.cursors.at(time)

    # Opens the link in the background, so that the cursor is known before the first publication.
    def connect
      @monitor.start
      Native.connect
    end

    # Called when another publisher replaces this one.
    def retire = @monitor.stop

    # @return [Hash] state of the link and counters; an unstable interface for logs and specs
    def status = Native.status

    # Waits up to a second for the spool to be sent, and logs the unconfirmed publications. Publishing still works
    # afterwards.
    def close
      @monitor.stop
      flush_at_end
      @monitor.close
    end

    private

    def flush_at_end
      Native.flush(1.0)
    rescue Unconfirmed
      # Without a file descriptor to wait with, the writer thread gets its time all the same.
      sleep(1)
    end

    # Open transactions whose commit a publication waits for.
    def open_transactions
      return Transactions::NONE if Transactions.none_begun?

      open = Transactions.open
      Deferred.settle if open.empty?
      Transactions.settled if open.equal?(Transactions::NONE)
      open
    end

    # @param event [Hash, nil] gets the size of the JSON as `:bytes`
    def hand_over(publications, once, timeout, transactions, event = nil)
      @monitor.start
      return hold(publications, once, timeout, transactions, event) unless transactions.empty?

      accepted = Native.publish(publications, once, !timeout.nil?, event)
      result(accepted, publications.size, timeout)
    end

    # @param accepted [Integer, String] sequence number of the frame, or the reason why it was not accepted
    def result(accepted, count, timeout)
      return accepted?(accepted, count) unless timeout
      return receipt(wait { Native.wait(accepted, timeout) }, timeout) if accepted.is_a?(Integer)

      raise NotAccepted, "not accepted, #{accepted}: #{last_error}"
    end

    # Waits in another thread if this one runs fibers by a scheduler, so that they go on meanwhile.
    def wait
      return yield unless Fiber.current_scheduler

      thread = Thread.new do
        Thread.current.report_on_exception = false
        yield
      end
      thread.value
    ensure
      thread&.kill
    end

    def hold(publications, once, timeout, transactions, event)
      refuse_to_wait if timeout
      encoded = Native.hold(publications, once, event)
      return accepted?(encoded, publications.size) if encoded.is_a?(String)

      Deferred.new(encoded, transactions) { accepted?(Native.publish_held(encoded), publications.size) }
      true
    end

    def refuse_to_wait
      raise InTransaction, "publish! cannot wait inside a transaction, because nothing is sent before the commit: " \
                           "call it after the commit, or give now: true to publish at once"
    end

    # @param accepted [Integer, String] sequence number of the frame, or the reason why it was not accepted
    def accepted?(accepted, count)
      return true if accepted.is_a?(Integer)

      @monitor.not_accepted(count, accepted)
      false
    end

    def receipt(answer, timeout)
      case answer
      in [:receipt, cursor, duplicate] then Receipt.new(cursor, duplicate)
      in [:refused, code, message] then raise Refused.new("refused by the sidecar: #{message}", code)
      in [:timed_out]
        raise Unconfirmed, "no answer within #{timeout} s, so it may still arrive (#{last_error}): " \
                           "to retry a publication, give the same once: both times"
      in [:dropped]
        raise NotAccepted, "dropped from the spool after #{@config.spool_seconds_max} s (spool_seconds_max): " \
                           "#{last_error}"
      end
    end

    def last_error = Native.status[:last_error] || "the sidecar is slow or stopped"
  end
end
