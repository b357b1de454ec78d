# frozen_string_literal: true

require "lineside/app_link"

RSpec.describe "Subscriptions with adapter: lineside", :cable, :sidecar do
  let(:server) { cable_server }

  # Messages that a subscription has received.
  def subscribe(name, messages = Queue.new)
    confirmed = Queue.new
    callback = ->(message) { messages << message }
    server.pubsub.subscribe(name, callback, -> { confirmed << true })
    eventually("the confirmation") { !confirmed.empty? }
    [messages, callback]
  end

  # Waits for a message, and returns those up to it.
  def until_message(messages, last)
    received = []
    eventually("the message #{last}") do
      received << messages.pop until messages.empty? || received.last == last
      received.last == last
    end
    received
  end

  # Runs broadcasts in another process, and waits for its end.
  def broadcast_elsewhere(script)
    ruby(<<~RUBY, env: publisher_env)
      require "active_support/all"
      require "action_cable"
      require "lineside"
      ActionCable.server.config.cable = { "adapter" => "lineside" }
      ActionCable.server.config.logger = Logger.new(nil)
      def broadcast(...) = ActionCable.server.broadcast(...) || raise("not accepted")
      #{script}
      Lineside.flush(timeout: 20) or raise "unconfirmed"
    RUBY
  end

  def restart(signal)
    sidecar.signal(signal)
    sidecar.wait
    yield if block_given?
    start_sidecar
  end

  def numbers(range) = range.map(&:to_s)

  it "receive the broadcasts of another process in order, each once, with their bytes" do
    start_sidecar
    messages, = subscribe("chat")
    others, = subscribe("other")
    broadcast_elsewhere(<<~'RUBY')
      3000.times { |number| broadcast(number.odd? ? "chat" : "unheard", number) }
      broadcast("other", 1)
      ActionCable.server.pubsub.broadcast("chat", '{ "é" : "\u003c" }')
    RUBY
    expect(until_message(messages, '{ "é" : "\u003c" }')[..-2]).to eq numbers(3000.times.select(&:odd?))
    expect(until_message(others, "1")).to eq %w[1]
    expect(messages.empty? && others.empty?).to be true
  end

  it "of two subscribers of a stream receive the same, until one unsubscribes" do
    start_sidecar
    first, callback = subscribe("chat")
    second, = subscribe("chat")
    server.broadcast("chat", 1)
    expect([until_message(first, "1"), until_message(second, "1")]).to eq [%w[1], %w[1]]
    server.pubsub.unsubscribe("chat", callback)
    server.broadcast("chat", 2)
    until_message(second, "2")
    expect(first).to be_empty
    expect(sidecar.output.scan("event=app_link_opened").size).to eq 1
  end

  it "receive nothing after the last unsubscribe, and again after the next subscribe" do
    start_sidecar
    first, callback = subscribe("chat")
    marker, = subscribe("marker")
    server.pubsub.unsubscribe("chat", callback)
    server.pubsub.unsubscribe("chat", callback)
    server.pubsub.unsubscribe("never subscribed", callback)
    server.broadcast("chat", 1)
    server.broadcast("marker", 1)
    until_message(marker, "1")
    expect(first).to be_empty
    second, = subscribe("chat")
    server.broadcast("chat", 2)
    expect(until_message(second, "2")).to eq %w[2]
    expect(first).to be_empty
  end

  it "end with shutdown, those of other servers go on" do
    start_sidecar
    other = cable_server
    ended, = subscribe("chat")
    other.pubsub.subscribe("chat", ->(message) { (@received ||= Queue.new) << message }, -> { @is_confirmed = true })
    eventually { @is_confirmed }
    server.restart
    other.broadcast("chat", 1)
    eventually("the message") { @received&.pop == "1" }
    expect(ended).to be_empty
  end

  it "lose and repeat nothing when the sidecar is restarted as planned" do
    start_sidecar
    messages, = subscribe("chat")
    quiet, = subscribe("quiet")
    broadcasts = Thread.new { 900.times { |number| server.broadcast("chat", number) } }
    restart(:TERM) { broadcasts.join }
    server.broadcast("chat", "last")
    expect(until_message(messages, '"last"')).to eq [*numbers(0...900), '"last"']
    server.broadcast("quiet", 1)
    expect(until_message(quiet, "1")).to eq %w[1]
    expect(log.string).not_to match(/receives no broadcasts|may be missing|ended the link/)
  end

  it "go on after the sidecar was killed, with one warning that names the streams" do
    start_sidecar
    messages, = subscribe("chat")
    subscribe("room\u{202e}")
    server.broadcast("chat", 1)
    until_message(messages, "1")
    # Without an ack the publisher would send it again.
    Lineside.flush
    restart(:KILL)
    # Only a subscription after the warning is known to be live again.
    warning = eventually("the warning") { log.string[/broadcasts may be missing.*/] }
    expect(warning).to match(/on the streams (chat, room\\u\{202e\}|room\\u\{202e\}, chat): the sidecar was killed/)
    server.broadcast("chat", 2)
    expect(until_message(messages, "2")).to eq %w[2]
    expect(log.string.scan("may be missing").size).to eq 1
  end

  it "are confirmed once there is a sidecar" do
    is_confirmed = false
    messages = Queue.new
    server.pubsub.subscribe("chat", ->(message) { messages << message }, -> { is_confirmed = true })
    expect(is_confirmed).to be false
    start_sidecar
    eventually("the confirmation") { is_confirmed }
    server.broadcast("chat", 1)
    expect(until_message(messages, "1")).to eq %w[1]
  end

  it "report a sidecar that is absent for longer than a restart takes" do
    server.pubsub.subscribe("chat", ->(_) {})
    expect(eventually { log.string[/receives no broadcasts.*/] }).to include("bundle exec lineside")
    start_sidecar
    eventually { log.string.include?("receives broadcasts again") }
  end

  it "of a callback that raises harm no other one, and are logged" do
    start_sidecar
    server.pubsub.subscribe("chat", ->(message) { raise IOError, "no #{message}" }, -> { raise "not me" })
    messages, = subscribe("chat")
    [1, 2].each { |number| server.broadcast("chat", number) }
    expect(until_message(messages, "2")).to eq %w[1 2]
    expect(log.string).to include("the stream chat raised IOError: no 1\n", "raised RuntimeError: not me\n")
  end

  it "with an invalid name raise, and log it" do
    [nil, "", "a\n", "x" * 1025].each do |name|
      expect { server.pubsub.subscribe(name, ->(_) {}) }.to raise_error(ArgumentError, /Action Cable stream/)
    end
    expect(log.string.scan("cannot use the Action Cable stream").size).to eq 4
  end

  it "miss nothing when subscriptions come and go" do
    start_sidecar
    kept, = subscribe("chat")
    threads = Array.new(4) do |thread|
      Thread.new do
        Array.new(50) do |number|
          name = "own:#{thread}"
          messages, callback = subscribe(name)
          server.broadcast(name, number)
          received = until_message(messages, number.to_s)
          server.pubsub.unsubscribe(name, callback)
          server.broadcast("chat", number)
          received
        end
      end
    end
    threads.each { |thread| expect(thread.value).to eq(Array.new(50) { |number| [number.to_s] }) }
    server.broadcast("chat", "last")
    expect(until_message(kept, '"last"').tally).to eq(50.times.to_h { |number| [number.to_s, 4] }.merge('"last"' => 1))
  end

  it "of a process that does not read go on where they were" do
    start_sidecar("LINESIDE_HISTORY_CHANNEL_PUBLICATIONS_MAX" => "50000",
                  "LINESIDE_HISTORY_CHANNEL_BYTES_MAX" => (256 << 20).to_s)
    messages, = subscribe("chat")
    gate = Queue.new
    subscribe("gate", Class.new { define_method(:<<) { |_| gate.pop } }.new)
    server.broadcast("gate", 1)
    # More than the sockets and the queue of the sidecar hold.
    broadcast_elsewhere(<<~RUBY)
      20_000.times do |number|
        broadcast("chat", [number, "x" * 1000])
        Lineside.flush(timeout: 20) if number % 1000 == 0
      end
    RUBY
    sidecar.written(/event=app_link_closed .*reason=app_slow/)
    gate << true
    server.broadcast("chat", "last")
    received = until_message(messages, '"last"')[..-2]
    expect(received.map { |message| JSON.parse(message).first }).to eq [*0...20_000]
    expect(log.string).not_to include("may be missing")
  end

  it "of a forked child are its own, on a link of its own" do
    start_sidecar
    output = ruby(<<~RUBY, env: publisher_env)
      require "active_support/all"
      require "action_cable"
      require "lineside"
      ActionCable.server.config.cable = { "adapter" => "lineside" }
      ActionCable.server.config.logger = Logger.new(nil)
      SOCKETS = -> { Dir.children("/proc/self/fd").count { |fd| File.readlink("/proc/self/fd/\#{fd}").match?(/socket|pipe/) rescue false } }
      def subscribe(name)
        Queue.new.tap do |messages|
          ActionCable.server.pubsub.subscribe(name, ->(message) { messages << message }, -> { messages << "confirmed" })
          messages.pop == "confirmed" or raise
        end
      end
      before = SOCKETS.call
      parent = subscribe("chat")
      pid = fork do
        SOCKETS.call == before or raise "the child holds its parent's link"
        child = subscribe("child")
        ActionCable.server.broadcast("chat", 1)
        ActionCable.server.broadcast("child", 2)
        child.pop == "2" && child.empty? or raise "the child received \#{child.pop}"
        parent.empty? or raise "the child received for its parent"
        ActionCable.server.pubsub.unsubscribe("chat", nil)
        exit!(true)
      end
      Process.wait(pid)
      $?.success? or exit(1)
      ActionCable.server.broadcast("chat", 3)
      print [parent.pop, parent.pop, parent.empty?]
    RUBY
    expect(output).to eq '["1", "3", true]'
    eventually { sidecar.output.scan("event=app_link_closed").size == 2 }
    expect(sidecar.output.scan("event=app_link_opened").size).to eq 2
  end
end
