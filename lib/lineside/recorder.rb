# frozen_string_literal: true

require_relative "recording"

module Lineside
  # Publisher of the test environment: records publications instead of sending them, and opens no link. Checks the data,
  # and defers publications inside transactions, as {Publisher} does.
  class Recorder < Publisher
    include Recording

    # Maximum number of publications in the message of a failure.
    LISTED_MAX = 20

    # Cursor of every receipt.
    CURSOR = "recorded.0"

    # @return [Recording] publisher of this process
    # @raise [Error] if publications are not recorded
    def self.current
      publisher = Lineside.publisher
      return publisher if publisher.is_a?(Recording)

      raise Error, "publications are sent, not recorded, in the environment #{Lineside.config.app_environment}: " \
                   "set config.lineside.record = true"
    end

    # @return [String] the publications, for the message of a failed expectation
    def self.list(publications)
      return "Nothing was published" if publications.empty?

      rest = publications.size - LISTED_MAX
      "Published: #{publications.first(LISTED_MAX).join('; ')}#{"; and #{rest} more" if rest.positive?}"
    end

    def initialize(config) # rubocop:disable Lint/MissingSuper -- that configures a link
      @config = config
      begin_recording
    end

    def disconnect(_user, _session, timeout: nil) = timeout ? Receipt.new(CURSOR, false) : true

    def flush(_timeout) = true

    def cursor = nil

    def cursor_at(_time) = nil

    def connect; end

    def retire; end

    def close; end

    def status = { linked: false, last_error: "publications are recorded" }

    private

    def hand_over(publications, once, timeout, transactions, event = nil)
      recorded = encode_all(publications, once, event)
      return defer(recorded, timeout, transactions) unless transactions.empty?

      is_new = recorded.map { |publication| record(publication) }
      timeout ? Receipt.new(CURSOR, !is_new.first) : true
    end

    def defer(recorded, timeout, transactions)
      refuse_to_wait if timeout
      Deferred.new(nil, transactions) { recorded.each { |publication| record(publication) } }
      true
    end

    def encode_all(publications, once, event)
      encoded = publications.map { |channel, data| [channel, encode(data)] }
      event[:bytes] = encoded.sum { |_, text| text.bytesize } if event
      encoded.map { |channel, text| Publication.of(channel, text, once) }
    end

    def encode(data)
      text = Native.encode(data, 0)
      return text if text.bytesize <= @config.payload_bytes_max

      raise PayloadTooLarge, "the data has #{text.bytesize} bytes, more than the #{@config.payload_bytes_max} of " \
                             "payload_bytes_max: publish what the page needs to fetch the rest"
    end
  end
end
