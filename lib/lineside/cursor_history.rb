# frozen_string_literal: true

require_relative "error"

module Lineside
  # Cursors that this process knew in the past, sampled once a second by {LinkMonitor}. A cursor of that time is moved
  # back by up to a second more, which is safe: the page receives what it already shows.
  class CursorHistory
    # Maximum age of a sample that can be asked for, in seconds.
    SECONDS_MAX = 60

    # A sample of more than the maximum age must still be there.
    SAMPLES_MAX = SECONDS_MAX + 5

    # @return [Float] seconds of a monotonic clock
    def self.now = Process.clock_gettime(Process::CLOCK_MONOTONIC)

    # @param seconds [Numeric, ActiveSupport::Duration] setting `replica_lag`
    # @return [Float]
    # @raise [ConfigurationError] unless it is above 0 and at most {SECONDS_MAX}
    def self.lag(seconds)
      number = seconds.respond_to?(:to_f) && !seconds.is_a?(String) ? seconds.to_f : 0.0
      return number if number.positive? && number <= SECONDS_MAX

      raise ConfigurationError, "replica_lag is #{seconds.inspect}: give seconds up to #{SECONDS_MAX}, such as 2.5, " \
                                "or nil"
    end

    def initialize
      @samples = [].freeze
    end

    # @param cursor [String, nil] newest cursor
    def add(cursor, time = CursorHistory.now)
      # A new array, because other threads read the old one.
      @samples = [*@samples.last(SAMPLES_MAX - 1), [time, cursor]].freeze if cursor
    end

    # @return [String, nil] the newest cursor that was known at this time; nil if that is unknown
    def at(time) = @samples.reverse_each.find { |sampled_at, _| sampled_at <= time }&.last
  end
end
