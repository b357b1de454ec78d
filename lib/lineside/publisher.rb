# frozen_string_literal: true

module Lineside
  # This process's end of the link. Every publication leaves through {#publish}. The extension behind it keeps the spool
  # and the one thread that writes; there is one per process, a forked child makes its own.
  class Publisher
    # @param config [Configuration]
    # @raise [ConfigurationError] if a setting cannot be used
    def initialize(config)
      @config = config
      @drops = DropLog.new(config)
      Native.configure(
        link: config.link_path,
        name: File.basename($PROGRAM_NAME),
        secret: (config.secret if config.secret?),
        spool_bytes_max: config.spool_bytes_max,
        spool_seconds_max: config.spool_seconds_max,
        payload_bytes_max: config.payload_bytes_max
      )
    end

    # Hands publications over: all of them, or none.
    #
    # @param publications [Array<Array(String, Object)>] full names of channels, each with its data
    # @param once [String, nil] the id under which a single one lands once
    # @param timeout [Float, nil] seconds to wait for the sidecar to take a single one; nil returns at once
    # @return [Boolean, Receipt] whether they were accepted, or what the sidecar answered
    # @raise [ArgumentError, PayloadTooLarge] for data that cannot be published
    # @raise [NotAccepted, Unconfirmed, Refused] with a timeout only
    def publish(publications, once: nil, timeout: nil)
      accepted = Native.publish(publications, once, !timeout.nil?)
      return accepted?(accepted) unless timeout
      return receipt(Native.wait(accepted, timeout), timeout) if accepted.is_a?(Integer)

      raise NotAccepted, "the publication was not accepted, #{accepted}: #{trouble}"
    end

    # @param timeout [Float] seconds
    # @return [Boolean] whether the sidecar has all that was accepted so far
    def flush(timeout) = Native.flush(timeout)

    # @return [String, nil]
    def cursor = Native.cursor

    # Opens the link in the background, so that the cursor is known before the first publication.
    def connect = Native.connect

    # @return [Hash] how the link is and what was counted; an unstable interface for logs and specs
    def status = Native.status

    # Gives what is still in the spool a last second, and says what it leaves behind. Publishing goes on working.
    def close
      Native.flush(1.0)
      @drops.close
    end

    private

    # @param accepted [Integer, String] the number of the hand-over, or why there is none
    def accepted?(accepted)
      accepted.is_a?(Integer) ? @drops.accepted : @drops.not_accepted(accepted)
      accepted.is_a?(Integer)
    end

    def receipt(answer, timeout)
      case answer
      in [:receipt, cursor, duplicate] then Receipt.new(cursor, duplicate)
      in [:refused, code, message] then raise Refused.new("the sidecar refused the publication: #{message}", code)
      in [:timed_out]
        raise Unconfirmed, "no answer within #{timeout} s, so the publication may arrive yet (#{trouble}): " \
                           "to retry it, give the same once: both times"
      in [:dropped]
        raise NotAccepted, "the publication grew older than #{@config.spool_seconds_max} s in the spool: #{trouble}"
      end
    end

    def trouble = Native.status[:last_error] || "the sidecar is slow, or stopped"
  end
end
