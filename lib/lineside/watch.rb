# frozen_string_literal: true

require_relative "instrumentation"

module Lineside
  # Looks at the link once a second, in a thread of its own, and tells what an operator should know: what was dropped,
  # and the link going down and up. As lines in the app's log, as events ({Instrumentation}), and for what a person must
  # see through `Rails.error`. Publishing itself takes no lock and writes no line, so that it works in signal handlers.
  class Watch
    INTERVAL_SECONDS = 1

    # What the link may have lost: the names in the event and in {Publisher#status}, and what to say of each.
    LOSSES = {
      dropped_aged: [:publications_aged, "grew too old in the spool"],
      refused: [:publications_refused, "were refused by the sidecar"]
    }.freeze

    # @param config [Configuration] whose logger is asked for when there is something to tell
    def initialize(config)
      @config = config
      forget
    end

    # Called with everything that is published. A forked child has none of its parent's threads.
    def start
      return if @thread&.alive?

      forget unless @pid == Process.pid
      @thread = Thread.new { watch }
      @thread.name = "Lineside's watch"
      # Puma, before it forks, warns of other threads.
      @thread.thread_variable_set(:fork_safe, true)
    rescue ThreadError
      # There can be no more threads: what it would have told is told at exit.
    end

    # The thread ends when it wakes next.
    def stop = @thread = nil

    # @param count [Integer] publications; a sign-out counts as one
    # @param reason [String] why they were not accepted
    def not_accepted(count, reason)
      @not_accepted += count
      @reason = reason
      # Whose fault it is may look different when it is told.
      @trouble = Native.status[:last_error] if @trouble.nil?
    end

    # Called once at the end of the process.
    def close
      status = Native.status
      tell_losses(status)
      behind = status[:accepted] - status[:acked] - status[:dropped_aged]
      return unless behind.positive?

      @config.logger.error("Lineside leaves #{behind} hand-overs behind at exit, without knowing whether they " \
                           "arrived: #{status[:last_error] || 'the sidecar did not answer in time'}")
    end

    private

    def forget
      @pid = Process.pid
      @told = LOSSES.values.to_h { |counter, _| [counter, 0] }
      @not_accepted = 0
      @reason = @trouble = @linked = nil
    end

    def watch
      loop do
        sleep INTERVAL_SECONDS
        break unless @thread.equal?(Thread.current)

        look(Native.status)
      end
    end

    def look(status)
      tell_link(status)
      tell_mismatch if status[:mismatch]
      @losing = tell_losses(status)
    end

    def tell_link(status)
      linked = status[:linked]
      return if linked == @linked || (!linked && under_way?(status))

      linked ? tell_up : tell_down(status[:last_error])
      @linked = linked
    end

    # Without an error the first attempt is; and as long as Puma's plugin, where it is loaded, has just begun, all are.
    def under_way?(status) = status[:last_error].nil? || (@linked.nil? && defined?(Sidecar) && Sidecar.booting?)

    def tell_up
      @config.logger.info("Lineside's link is up again") if @linked == false
      Instrumentation.tell("link.lineside", { state: :up })
    end

    def tell_down(remedy)
      @config.logger.warn("Lineside's link is down: #{remedy}")
      Instrumentation.tell("link.lineside", { state: :down, remedy: })
    end

    # @return [Boolean] whether there were any
    def tell_losses(status)
      not_accepted = @not_accepted
      # Other threads go on meanwhile: what they add is told the next time.
      @not_accepted -= not_accepted
      lost = { not_accepted:, **losses(status) }
      return false if lost.values.sum.zero?

      remedy = remedy(status)
      line = "Lineside dropped publications: #{words(lost)}. #{remedy}"
      @config.logger.error(line)
      Instrumentation.tell("dropped.lineside", { **lost, remedy: })
      report(NotAccepted.new(line)) unless @losing
      @trouble = nil
      true
    end

    # What the link has lost since the last time.
    def losses(status)
      lost = LOSSES.transform_values { |counter, _| status[counter] - @told[counter] }
      @told = status.slice(*@told.keys)
      lost
    end

    def words(lost)
      parts = LOSSES.filter_map { |loss, (_, what)| "#{lost[loss]} #{what}" if lost[loss].positive? }
      parts.unshift("#{lost[:not_accepted]} were not accepted, #{@reason}") if lost[:not_accepted].positive?
      parts.join("; ")
    end

    def remedy(status)
      @trouble || status[:last_error] || status[:last_refusal] ||
        "The sidecar is slower than this process publishes"
    end

    def tell_mismatch
      return if @told_mismatch

      @told_mismatch = true
      line = "Lineside: the sidecar verifies with another key than this process signs with, so every token is " \
             "refused. Give both the same LINESIDE_SECRET, or start the sidecar with `bundle exec lineside`"
      @config.logger.error(line)
      report(ConfigurationError.new(line))
    end

    # Since Rails 7.0. Once where a trouble begins: error trackers count by themselves.
    def report(error)
      Rails.error.report(error, handled: true, severity: :error) if defined?(Rails) && Rails.respond_to?(:error)
    end
  end
end
