# frozen_string_literal: true

# Waits for a condition.
module Eventually
  # Time-out on a busy machine. Only a failing example reaches it.
  TIMEOUT_SECONDS = 20
  PAUSE_SECONDS = 0.005

  # Repeats the block until it returns a truthy value, and returns that.
  def eventually(what = "the condition", timeout: TIMEOUT_SECONDS)
    deadline = clock + timeout
    loop do
      found = yield
      return found if found
      raise "#{what} did not come true within #{timeout} s" if clock > deadline

      IO.select(nil, nil, nil, PAUSE_SECONDS)
    end
  end

  def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)
end
