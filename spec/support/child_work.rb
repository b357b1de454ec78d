# frozen_string_literal: true

# CPU time of the descendants of this process, as a measure of their progress.
class ChildWork
  # Interval of the readings, in seconds.
  INTERVAL_SECONDS = 1

  # CPU time that counts as progress, in ticks of 10 ms. Idle processes use less in {Eventually::STALL_SECONDS_MAX}.
  PROGRESS_TICKS = 10

  # @param now [Float] seconds on the monotonic clock
  def initialize(now)
    @progress_at = @read_at = now
    @ticks = nil
  end

  # @return [Float] seconds since the last progress
  def stalled_seconds(now)
    read(now) if now - @read_at >= INTERVAL_SECONDS
    now - @progress_at
  end

  private

  def read(now)
    @read_at = now
    ticks = children(Process.pid).sum { |pid| ticks(pid) }
    return if @ticks && (ticks - @ticks).between?(0, PROGRESS_TICKS - 1)

    @ticks = ticks
    @progress_at = now
  end

  # CPU time of a process, of its ended children and of its living ones. 0 if it has ended.
  def ticks(pid)
    # The name in parentheses can contain spaces.
    fields = File.read("/proc/#{pid}/stat").rpartition(")").last.split
    fields[11, 4].sum(&:to_i) + children(pid).sum { |child| ticks(child) }
  rescue SystemCallError
    0
  end

  def children(pid)
    Dir["/proc/#{pid}/task/*/children"].flat_map { |file| File.read(file).split }
  rescue SystemCallError
    []
  end
end
