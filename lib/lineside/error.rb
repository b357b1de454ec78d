# frozen_string_literal: true

# Errors. Invalid arguments raise ArgumentError; all other errors are subclasses of Lineside::Error.
module Lineside
  # Base class of all errors. Raised itself for a bug in Lineside.
  class Error < StandardError; end

  # A setting is invalid or missing.
  class ConfigurationError < Error; end

  # The JSON of the data is larger than `payload_bytes_max`, or a publish_all does not fit into one frame.
  class PayloadTooLarge < Error; end

  # A publication or revocation was not sent: the spool was full, or it waited longer than `spool_seconds_max`.
  class NotAccepted < Error; end

  # `publish!` was called inside a transaction without `now: true`.
  class InTransaction < Error; end

  # `publish!` or `disconnect!` timed out, or could not wait, so its outcome is unknown. Retry it, a publication with
  # the same `once:`.
  class Unconfirmed < Error; end

  # The sidecar refused a publication or revocation for good. It would refuse a retry too.
  class Refused < Error
    # @return [Integer] code of the reason, listed in docs/codes.md
    attr_reader :code

    def initialize(message, code)
      super(message)
      @code = code
    end
  end
end
