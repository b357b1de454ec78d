# frozen_string_literal: true

# One beat of the steady traffic. Its id counts without gaps, so that every page can tell whether it misses one.
class Tick < ApplicationRecord
  # Fetched again after something was lost, a page gets as many: over two minutes of the window's five a second.
  NEWEST_COUNT = 1_000

  # Made once for each key, however often the request for it is repeated.
  def self.of(key)
    find_by(key:) || create_or_find_by!(key:)
  end

  def self.newest_ids = order(id: :desc).limit(NEWEST_COUNT).pluck(:id).reverse

  # A retried request publishes again, and it lands once.
  def publish
    sent_at = Process.clock_gettime(Process::CLOCK_REALTIME, :float_millisecond)
    Lineside.publish("ticks", { id:, sent_at: }, once: key)
  end
end
