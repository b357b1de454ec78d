# frozen_string_literal: true

require "json"

module Lineside
  # Publication that a {Recorder} recorded: full name of the channel, data as a browser receives it, and `once:` id.
  Publication = Struct.new(:channel, :data, :once) do
    # @param expected [Object] data as it is given to publish, or anything that matches it with `===`
    # @return [Boolean] whether this is the data. The keys of a Hash may be Symbols
    def data?(expected)
      expected === data || Publication.of(channel, Native.encode(expected, 0), once) == self # rubocop:disable Style/CaseEquality -- a Class, a Regexp or a Proc
    rescue ArgumentError
      # It cannot be encoded, so it was not published.
      false
    end

    # @return [Object] the data with keys that are Symbols
    def symbolized = JSON.parse(JSON.generate(data), symbolize_names: true)

    def to_s = "#{channel}: #{JSON.generate(data)}"

    class << self
      # Copies the texts, which the app may change afterwards.
      # @param text [String] the data as JSON
      def of(channel, text, once)
        new(channel.dup.freeze, JSON.parse(text, max_nesting: false), once.dup.freeze)
      end
    end
  end
end
