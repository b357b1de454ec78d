# frozen_string_literal: true

# Publishes inside nested transactions of two databases, committed and rolled back at random. Writes the log that
# publisher.rs describes, with rolled back publications as declined.

require "json"
require "lineside"
require_relative "../../spec/support/databases"
require_relative "../../spec/support/nesting"

$stdout.sync = true
plan = JSON.parse(ARGV.fetch(0))
name = "#{plan.fetch('name')}.0"
channels = plan.fetch("channels")
Lineside.configure do |config|
  config.link = "unix:#{plan.fetch('link')}"
end
Databases.connect

sequence = 0
log = ->(event, **fields) { puts({ event:, publisher: name, sequence:, **fields }.to_json) }
item = ->(number) { { channel: channels[number % channels.size], id: "#{name}.#{number}" } }
called = []
nesting = Nesting.new(Random.new(plan.fetch("seed")), [Databases::Order, Databases::Stock]) do |number|
  called << number
  channel, id = item[number].values_at(:channel, :id)
  user = channel[/\Auser:(.*)/, 1]
  (user ? Lineside.publish_to(user, { id: }) : Lineside.publish(channel, { id: })) or raise "the spool is full"
end

stop = Thread.new { $stdin.gets }
until stop.join(1.0 / plan.fetch("per_second"))
  nesting.transaction
  committed = nesting.expected
  (committed + (called - committed)).each do |number|
    sequence += 1
    log.call("sent", items: [item[number]])
    log.call("declined") unless committed.include?(number)
  end
  called.clear
end
exit 1 unless stop.value == "stop\n"

flushed = Lineside.flush(timeout: 60)
puts({ event: "acked", publisher: name, through: sequence, cursor: Lineside.cursor }.to_json) if flushed
status = Lineside.publisher.status
counts = %i[accepted acked dropped_full dropped_aged refused resent reconnects].to_h { |count| [count, status[count]] }
puts({ flushed:, **counts }.to_json)
