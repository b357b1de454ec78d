# frozen_string_literal: true

require_relative "instrumentation"

module Lineside
  # Reports drops and the state of the link, from a thread that checks them once a second. Writes to the app's log,
  # emits events ({Instrumentation}), and reports drops and a wrong key to `Rails.error`. Publishing itself takes no
  # lock and logs nothing, so that it works in signal handlers.
  class LinkMonitor
    INTERVAL_SECONDS = 1

    # Losses on the link: name in the event, counter in {Publisher#status}, and words in the log.
    LOSSES = {
      dropped_aged: [:publications_aged, "exceeded spool_seconds_max in the spool"],
      refused: [:publications_refused, "were refused by the sidecar"]
    }.freeze

    # @param config [Configuration] provides the logger
    def initialize(config)
      @config = config
      reset
    end

    # Starts the thread if it is not running, as after a fork. Called by everything that publishes.
    def start
      return if @thread&.alive?

      reset_in_child
      @thread = Thread.new { run }
      @thread.name = "Lineside monitor"
      # Suppresses Puma's warning about threads that exist before a fork.
      @thread.thread_variable_set(:fork_safe, true)
    rescue ThreadError
      # No thread can be created: losses are reported at exit.
    end

    # @return [CursorHistory] empty unless `replica_lag` is set
    attr_reader :cursors

    # Ends the thread within a second.
    def stop = @thread = nil

    # @param count [Integer] number of publications; a revocation counts as one
    # @param reason [String] reason why they were not accepted
    def not_accepted(count, reason)
      @not_accepted += count
      @reason = reason
      # Stored now, because the error can be another one when the loss is reported.
      @last_error = Native.status[:last_error] if @last_error.nil?
    end

    # Reports the remaining losses and the unconfirmed publications. Called at the end of the process.
    def close
      reset_in_child
      status = Native.status
      report_losses(status)
      unconfirmed = status[:accepted] - status[:acked] - status[:dropped_aged]
      return unless unconfirmed.positive?

      line = "Lineside: exiting with #{unconfirmed} unconfirmed publications, which may not have arrived: " \
             "#{status[:last_error] || 'the sidecar did not answer in time'}"
      @config.logger.error(line)
      warn(line) if unseen_log?
    end

    private

    # Whether the process has a terminal that does not show the log, like a rake task and `rails runner` in an app.
    def unseen_log?
      $stderr.tty? && defined?(Rails.logger) && @config.logger.equal?(Rails.logger) &&
        [defined?(Rails::Server), defined?(Rails::Console)].none?
    end

    # A forked child does not report the losses of its parent.
    def reset_in_child
      reset unless @pid == Process.pid
    end

    def reset
      @pid = Process.pid
      @reported = LOSSES.values.to_h { |counter, _| [counter, 0] }
      @not_accepted = 0
      @reason = @last_error = @linked = nil
      @cursors = CursorHistory.new
    end

    def run
      loop do
        sleep INTERVAL_SECONDS
        break unless @thread.equal?(Thread.current)

        @cursors.add(Native.cursor) if @config.replica_lag
        check(Native.status)
      end
    end

    def check(status)
      check_link(status)
      report_mismatch if status[:mismatch]
      @losing = report_losses(status)
    end

    def check_link(status)
      linked = status[:linked]
      return if linked == @linked || (!linked && connecting?(status))

      linked ? report_up : report_down(status[:last_error])
      @linked = linked
    end

    # Whether the first attempt to connect is under way, or Puma's plugin has just started the sidecar.
    def connecting?(status) = status[:last_error].nil? || (@linked.nil? && booting?)

    # The short name could be a class of the app.
    def booting? = defined?(Lineside::Sidecar) && Sidecar.booting?

    def report_up
      @config.logger.info("Lineside: the link is up again") if @linked == false
      Instrumentation.notify("link.lineside", { state: :up })
    end

    def report_down(remedy)
      @config.logger.warn("Lineside: the link is down: #{remedy}")
      Instrumentation.notify("link.lineside", { state: :down, remedy: })
    end

    # @return [Boolean] whether there were losses
    def report_losses(status)
      not_accepted = @not_accepted
      # Subtracted, because other threads may add to the counter meanwhile.
      @not_accepted -= not_accepted
      lost = { not_accepted:, **losses(status) }
      return false if lost.values.sum.zero?

      remedy = remedy(status)
      line = "Lineside dropped publications: #{words(lost)}. #{remedy}"
      @config.logger.error(line)
      Instrumentation.notify("dropped.lineside", { **lost, remedy: })
      report_error(NotAccepted.new(line)) unless @losing
      @last_error = nil
      true
    end

    # Losses on the link since the last call.
    def losses(status)
      lost = LOSSES.transform_values { |counter, _| status[counter] - @reported[counter] }
      @reported = status.slice(*@reported.keys)
      lost
    end

    def words(lost)
      parts = LOSSES.filter_map { |loss, (_, what)| "#{lost[loss]} #{what}" if lost[loss].positive? }
      parts.unshift("#{lost[:not_accepted]} were not accepted (#{@reason})") if lost[:not_accepted].positive?
      parts.join("; ")
    end

    def remedy(status)
      @last_error || status[:last_error] || status[:last_refusal] ||
        "This process publishes faster than the sidecar reads: publish less, or raise spool_bytes_max"
    end

    def report_mismatch
      return if @mismatch_reported

      @mismatch_reported = true
      line = "Lineside: sidecar and app have different secrets, so the sidecar refuses publications and tokens. " \
             "Give both the same LINESIDE_SECRET, or start the sidecar with `bundle exec lineside`"
      @config.logger.error(line)
      report_error(ConfigurationError.new(line))
    end

    # Reports to Rails.error (Rails 7.0 and later). Called once for each series of losses, not for each loss.
    def report_error(error)
      Rails.error.report(error, handled: true, severity: :error) if defined?(Rails) && Rails.respond_to?(:error)
    end
  end
end
