# frozen_string_literal: true

# What goes wrong. Bad arguments raise ArgumentError; the rest is a Lineside::Error.
module Lineside
  # What all errors of Lineside have in common; raised itself for a fault of Lineside's own.
  class Error < StandardError; end

  # A setting that cannot be used, or one that is missing.
  class ConfigurationError < Error; end

  # Data whose JSON is larger than `payload_bytes_max`, or more of it than fits into one hand-over.
  class PayloadTooLarge < Error; end

  # `publish!` could not hand the publication over, so nobody received it; or it grew too old in the spool.
  class NotAccepted < Error; end

  # `publish!` was called inside a transaction, without `now: true`.
  class InTransaction < Error; end

  # `publish!` or `disconnect!` had no answer in time. It may arrive yet: retry it, a publication with the same `once:`.
  class Unconfirmed < Error; end

  # The sidecar will never take the publication.
  class Refused < Error
    # @return [Integer] the reason as a number; docs/codes.md lists them
    attr_reader :code

    def initialize(message, code)
      super(message)
      @code = code
    end
  end
end
