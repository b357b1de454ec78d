# frozen_string_literal: true

require_relative "child_work"

# Waits for a condition.
module Eventually
  # Time without progress after which a wait fails. Progress is CPU time of this process's children: on a busy machine
  # they need longer, and a fixed time-out would fail an example that only waits for its share of the processor.
  STALL_SECONDS_MAX = 20

  # Longest wait for children that are busy and fulfil no condition.
  SECONDS_MAX = 120

  PAUSE_SECONDS = 0.005

  # Repeats the block until it returns a truthy value, and returns that.
  def eventually(what = "the condition")
    deadline = clock + SECONDS_MAX
    work = ChildWork.new(clock)
    loop do
      found = yield
      return found if found

      stall = work.stalled_seconds(clock)
      raise "#{what} did not come true: no progress for #{stall.round} s" if stall > STALL_SECONDS_MAX
      raise "#{what} did not come true within #{SECONDS_MAX} s" if clock > deadline

      IO.select(nil, nil, nil, PAUSE_SECONDS)
    end
  end

  def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)
end
