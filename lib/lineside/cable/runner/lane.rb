# frozen_string_literal: true

require_relative "../connection"

module Lineside
  module Cable
    class Runner
      # Runs jobs one after another, each in a thread of Rails' worker pool. Between two of them, other lanes have their
      # turn.
      class Lane
        # @param server [ActionCable::Server::Base]
        # @param jobs_max [Integer, Float] maximum number of waiting jobs
        def initialize(server, jobs_max = Float::INFINITY)
          @server = server
          @jobs_max = jobs_max
          @mutex = Mutex.new
          @jobs = []
          @is_running = false
        end

        # Adds a job. Never waits for one.
        # @return [Boolean] false if too many jobs wait
        def push(&job)
          @mutex.synchronize do
            return false if @jobs.size >= @jobs_max

            @jobs << job
            return true if @is_running

            @is_running = true
          end
          Connection.post(@server) { run_next }
          true
        end

        # @return [Boolean] whether all jobs have ended
        def idle? = @mutex.synchronize { !@is_running }

        private

        def run_next
          job = @mutex.synchronize { @jobs.shift }
          job.call
        rescue StandardError, ScriptError => e
          # Raised outside the app's code, whose errors Rails has logged.
          Lineside.config.logger.error("Lineside: Action Cable: #{e.class}, #{Printable.of(e.message)}\n" \
                                       "#{e.backtrace&.join("\n")}")
        ensure
          Connection.post(@server) { run_next } if @mutex.synchronize { @is_running = @jobs.any? }
        end
      end
    end
  end
end
