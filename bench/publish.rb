# frozen_string_literal: true

# Times calls that publish from Ruby: Lineside's, and others to servers on this machine. Prints a line per case: group,
# name, number of calls, p50 and p99 in nanoseconds. `bin/bench publish` builds the release, and runs this.
#
#   ruby bench/publish.rb SECONDS SIDECAR_BINARY       all cases; SECONDS bound each
#   ruby bench/publish.rb SECONDS SIDECAR_BINARY rails Lineside's with ActiveRecord loaded and connected
require "json"
require "lineside"
require "net/http"
require "socket"
require "tmpdir"

SERVER_CORE = "0"
BATCH = 200
BATCHES_MAX = 2_000
CALLS_MAX = 20_000
READY_SECONDS_MAX = 20
STRING = "x" * 128
HASH = { id: 7, total: 90.5, state: "open", items: [1, 2, 3], name: "some name of somebody",
         note: "a text that makes the hash 130 bytes." }.freeze
USER_ID = 7
BUSY_THREADS = 3
PACE_SECONDS = 0.01
BUSY_PACE_NS = 1_000_000

# Processes that this one talks to, on the server's core.
module Servers
  @pids = []

  class << self
    def start(*command, env: {})
      @pids << spawn(env, "taskset", "-c", SERVER_CORE, *command, in: File::NULL, out: File::NULL, err: File::NULL)
    end

    # @return [Integer] port of a server in a process of its own, which handles one connection at a time
    def fork_tcp(&handle)
      server = TCPServer.new("127.0.0.1", 0)
      @pids << fork do
        system("taskset", "-cp", SERVER_CORE, Process.pid.to_s, out: File::NULL)
        loop { handle.call(server.accept) }
      end
      server.addr[1].tap { server.close }
    end

    def stop
      @pids.each do |pid|
        Process.kill("KILL", pid)
        Process.wait(pid)
      end
    end
  end
end

# Measurements, each bounded in time. The time of a call that does nothing is subtracted.
class Timing
  NOTHING = -> {}

  def initialize(seconds)
    @seconds = seconds
    @batch_overhead = @single_overhead = 0
    @batch_overhead = median(Array.new(100) { batch(NOTHING) })
    @single_overhead = median(singles(NOTHING))
  end

  # Calls without a pause. p50 is of the means of batches, so that the clock does not count; p99 is of single calls.
  def back_to_back(group, name, call, settle: NOTHING)
    batches = repeat(BATCHES_MAX) { batch(call).tap { settle.call } }
    calls = repeat(BATCHES_MAX) { singles(call).tap { settle.call } }.flatten
    print_line(group, name, batches, calls)
  end

  # One call at a time, with pauses in which the process sleeps.
  def paced(group, name, call)
    calls = repeat(CALLS_MAX) do
      sleep PACE_SECONDS
      single(call)
    end
    print_line(group, name, calls, calls)
  end

  # One call every millisecond from a thread that computes, beside others that compute.
  def busy(group, name, call)
    threads = Array.new(BUSY_THREADS) { Thread.new { loop { nil } } }
    calls = repeat(CALLS_MAX) do
      due = now + BUSY_PACE_NS
      nil while now < due
      single(call)
    end
    print_line(group, name, calls, calls)
  ensure
    threads.each(&:kill).each(&:join)
  end

  private

  def now = Process.clock_gettime(Process::CLOCK_MONOTONIC, :nanosecond)

  def repeat(count_max)
    deadline = now + (@seconds * 1_000_000_000).to_i
    results = []
    results << yield while results.size < count_max && (now < deadline || results.size < 2)
    results
  end

  def batch(call)
    index = 0
    start = now
    while index < BATCH
      call.call
      index += 1
    end
    ((now - start) / BATCH) - @batch_overhead
  end

  def singles(call) = Array.new(BATCH) { single(call) }

  def single(call)
    start = now
    call.call
    now - start - @single_overhead
  end

  def median(values) = percentile(values, 50)

  def percentile(values, percent)
    sorted = values.sort
    [sorted[(sorted.size - 1) * percent / 100], 0].max
  end

  def print_line(group, name, middle, tail)
    puts [group, name, tail.size, median(middle), percentile(tail, 99)].join("\t")
    $stdout.flush
  end
end

def wait_for(what)
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + READY_SECONDS_MAX
  begin
    yield
  rescue StandardError => e
    raise "#{what} did not start: #{e.message}" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline

    sleep 0.05
    retry
  end
end

def start_sidecar(binary, folder)
  secret = "the secret of this measurement: 0123456789"
  link = "unix:#{folder}/sockets/lineside.sock"
  Servers.start(binary, env: { "LINESIDE_SECRET" => secret, "LINESIDE_BIND" => "none", "LINESIDE_ADMIN_BIND" => "none",
                               "LINESIDE_LINK" => link })
  wait_for("the sidecar") { raise Errno::ENOENT unless File.socket?(link.delete_prefix("unix:")) }
  Lineside.configure do |config|
    config.link = link
    config.secret = secret
  end
  Lineside.publish!("orders", 1)
end

def load_rails
  require "active_record"
  require "active_support/all"
  ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ":memory:")
  ActiveRecord::Base.connection.execute("select 1")
end

def time_lineside(timing, group)
  flush = -> { Lineside.flush(timeout: 5) }
  { "publish, String of 128 B" => -> { Lineside.publish("orders", STRING) },
    "publish, Hash of 130 B" => -> { Lineside.publish("orders", HASH) },
    "publish_to, Hash of 130 B" => -> { Lineside.publish_to(USER_ID, HASH) } }.each do |name, call|
    timing.back_to_back(group, "Lineside.#{name}", call, settle: flush)
  end
end

# @return [Hash{String => Proc}] calls to other servers, by name
def others
  lines = TCPSocket.new("127.0.0.1", Servers.fork_tcp { |socket| socket.each_line { nil } })
  port = Servers.fork_tcp { |socket| answer(socket) }
  http = Net::HTTP.start("127.0.0.1", port)
  { "TCPSocket#write of a line" => -> { lines.write("#{STRING}\n") }, "redis-rb publish" => redis,
    "Net::HTTP#post" => -> { http.post("/publish", STRING) } }.compact
end

def time_others(timing)
  calls = others
  calls.each { |name, call| timing.back_to_back("back to back", name, call) }
  calls = { "Lineside.publish, String of 128 B" => -> { Lineside.publish("orders", STRING) } }.merge(calls)
  %i[paced busy].zip(["100 a second, writer asleep", "beside three busy threads"]).each do |pace, group|
    calls.each { |name, call| timing.public_send(pace, group, name, call) }
  end
end

# Answers requests of one connection, as fast as Ruby can.
def answer(socket)
  while socket.gets
    length = 0
    while (line = socket.gets) && line != "\r\n"
      length = line[/\d+/].to_i if line.start_with?("Content-Length")
    end
    socket.read(length)
    socket.write("HTTP/1.1 204 No Content\r\n\r\n")
  end
end

def redis
  require "redis"
  port = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }
  Servers.start("redis-server", "--port", port.to_s, "--save", "")
  client = Redis.new(port:)
  wait_for("Redis") { client.ping }
  -> { client.publish("orders", STRING) }
rescue LoadError, Errno::ENOENT => e
  warn "redis-rb is not measured: #{e.message}; bin/bench peers installs it"
end

seconds, binary, mode = ARGV
timing = Timing.new(Float(seconds))
begin
  Dir.mktmpdir("lineside-bench-") do |folder|
    load_rails if mode == "rails"
    start_sidecar(binary, folder)
    time_lineside(timing, mode == "rails" ? "back to back with ActiveRecord" : "back to back")
    next if mode == "rails"

    time_others(timing)
  end
ensure
  Servers.stop
end
