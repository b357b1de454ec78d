# frozen_string_literal: true

module Lineside
  # Tells an app's log what was dropped, in one line a second at most. It takes no lock, so that publishing works inside
  # a signal handler too; at worst two threads say the same thing.
  class DropLog
    INTERVAL_SECONDS = 1

    # Counters of the link that stand for something lost, and what to say of each.
    LOSSES = {
      dropped_aged: "grew too old in the spool",
      refused: "were refused by the sidecar"
    }.freeze

    # @param config [Configuration] whose logger is asked for when there is something to tell
    def initialize(config)
      @config = config
      @told = LOSSES.transform_values { 0 }
      @not_accepted = 0
      @looked_at = @logged_at = now - INTERVAL_SECONDS
    end

    # Called after every publication that was accepted, so it looks only once a second.
    def accepted
      time = now
      look(Native.status, time) if time >= @looked_at + INTERVAL_SECONDS
    end

    # @param reason [String] why a publication was not accepted
    def not_accepted(reason)
      @not_accepted += 1
      @reason = reason
      time = now
      look(Native.status, time) if time >= @logged_at + INTERVAL_SECONDS
    end

    # Called once at the end of the process.
    def close
      status = Native.status
      look(status, now)
      behind = status[:accepted] - status[:acked] - status[:dropped_aged]
      return unless behind.positive?

      tell("Lineside leaves #{behind} hand-overs behind at exit, without knowing whether they arrived: " \
           "#{status[:last_error] || 'the sidecar did not answer in time'}")
    end

    private

    def look(status, time)
      @looked_at = time
      tell_mismatch if status[:mismatch]
      lost = losses(status)
      return if lost.empty?

      @logged_at = time
      remedy = status[:last_error] || status[:last_refusal] || "The sidecar is slower than this process publishes"
      tell("Lineside dropped publications: #{lost.join('; ')}. #{remedy}")
    end

    # What was lost since the last time, in words.
    def losses(status)
      lost = LOSSES.filter_map do |counter, what|
        # A forked child counts from zero again.
        count = status[counter] - (status[counter] < @told[counter] ? 0 : @told[counter])
        "#{count} #{what}" if count.positive?
      end
      @told = status.slice(*LOSSES.keys)
      lost.unshift("#{@not_accepted} were not accepted, #{@reason}") if @not_accepted.positive?
      @not_accepted = 0
      lost
    end

    def tell_mismatch
      return if @told_mismatch

      @told_mismatch = true
      tell("Lineside: the sidecar verifies with another key than this process signs with, so every token is refused. " \
           "Give both the same LINESIDE_SECRET, or start the sidecar with `bundle exec lineside`")
    end

    def tell(line) = @config.logger.error(line)

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
