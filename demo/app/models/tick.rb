# frozen_string_literal: true

# Message of the steady traffic. Ids have no gaps, so that a page can detect a missing one.
class Tick < ApplicationRecord
  # Number of ids that a page refetches after `lost`: over three minutes at five messages a second.
  NEWEST_COUNT = 1_000

  after_create_commit -> { broadcast_update_to "ticks", target: "ticks" }

  # Creates one tick for each key, however often the request is repeated.
  def self.of(key)
    find_by(key:) || create_or_find_by!(key:)
  end

  # Returns the newest tick; one with the id 0 if there is none.
  def self.newest = last || new(id: 0)

  def self.newest_ids = order(id: :desc).limit(NEWEST_COUNT).pluck(:id).reverse

  # Publishes the id. A repeated request publishes again; `once:` makes the sidecar drop the duplicate.
  def publish
    Lineside.publish("ticks", { id:, sent_at: }, once: key)
  end

  # Current time in milliseconds since 1970, from which the page computes the delay.
  def sent_at = Process.clock_gettime(Process::CLOCK_REALTIME, :float_millisecond)
end
