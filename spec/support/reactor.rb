# frozen_string_literal: true

# Smallest scheduler of non-blocking fibers: they can block on threads and sleep.
class Reactor
  # Runs blocks as fibers of one thread, and returns their results.
  def self.run(*blocks)
    results = Array.new(blocks.size)
    Thread.new do
      Fiber.set_scheduler(new)
      blocks.each_with_index { |block, index| Fiber.schedule { results[index] = block.call } }
    end.join
    results
  end

  def initialize
    @ready = Queue.new
    @waiting = {}
  end

  def fiber(&) = Fiber.new(blocking: false, &).tap(&:resume)

  def block(_blocker, timeout = nil)
    @waiting[Fiber.current] = timeout && (now + timeout)
    Fiber.yield
  end

  # Called by other threads.
  def unblock(_blocker, fiber) = @ready << fiber

  def kernel_sleep(seconds = nil) = block(:sleep, seconds)

  def io_wait(_io, events, _timeout) = events

  def close
    until @waiting.empty?
      [*expired, *(@ready.pop unless @ready.empty?)].each { |fiber| resume(fiber) }
      Thread.pass
    end
  end

  private

  def expired = @waiting.select { |_, at| at && at <= now }.keys

  def resume(fiber)
    return unless @waiting.key?(fiber)

    @waiting.delete(fiber)
    fiber.resume
  end

  def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
end
