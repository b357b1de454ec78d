# frozen_string_literal: true

# Waits for a condition, never for a time.
module Eventually
  # Far more than anything here takes on a busy machine: reached only by a failure.
  PATIENCE_SECONDS = 20
  PAUSE_SECONDS = 0.005

  # Repeats the block until it gives something, and returns that.
  def eventually(what = "the condition", patience: PATIENCE_SECONDS)
    deadline = clock + patience
    loop do
      found = yield
      return found if found
      raise "#{what} did not come true within #{patience} s" if clock > deadline

      IO.select(nil, nil, nil, PAUSE_SECONDS)
    end
  end

  def clock = Process.clock_gettime(Process::CLOCK_MONOTONIC)
end
