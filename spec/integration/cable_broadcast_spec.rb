# frozen_string_literal: true

RSpec.describe "Broadcasts with adapter: lineside", :cable, :sidecar do
  # Lines of `lineside tail`, without cursor and time.
  let(:tail) { start([publisher_env, Lineside::Binary.path, "tail", "cable:*"]) }

  def attach
    start_sidecar
    tail
    sidecar.written(/event=tail_opened/)
  end

  # Waits for the broadcast of `last`, and returns the channels and data before it.
  def received_until(last)
    tail.written(/"data":#{Regexp.escape(last)}}$/)
    tail.output.scan(/"channel":"([^"]*)".*"data":(.*)}$/)[..-2]
  end

  it "arrive with the bytes that Action Cable encoded, on cable:<name>" do
    attach
    server = cable_server(channel_prefix: "shop_production")
    server.broadcast("chat", { text: "<é>\u2028", at: Time.at(0).utc })
    server.broadcast("books*", nil)
    server.broadcast("x" * 1024, [1.0])
    server.pubsub.broadcast("chat", '{ "spaces" :  [ ] }')
    server.broadcast(:chat, "last")
    expect(received_until('"last"')).to eq [
      ["cable:chat", '{"text":"\\u003cé\\u003e\\u2028","at":"1970-01-01T00:00:00.000Z"}'],
      ["cable:books*", "null"], ["cable:#{'x' * 1024}", "[1.0]"], ["cable:chat", '{ "spaces" :  [ ] }']
    ]
  end

  it "are sent at once inside a transaction that is rolled back", :databases do
    attach
    server = cable_server
    orders.transaction do
      server.broadcast("chat", 1)
      Lineside.publish("orders", 2)
      raise ActiveRecord::Rollback
    end
    server.broadcast("chat", "last")
    expect(received_until('"last"')).to eq [["cable:chat", "1"]]
  end

  it "arrive from forked children, in the order of each process" do
    attach
    ruby(<<~RUBY, env: publisher_env)
      require "active_support/all"
      require "action_cable"
      require "lineside"
      ActionCable.server.config.cable = { "adapter" => "lineside" }
      ActionCable.server.config.logger = Logger.new($stderr)
      ActionCable.server.broadcast("chat", "parent")
      exit(Array.new(3) do |child|
        fork { 20.times { |number| ActionCable.server.broadcast("chat", [child, number]) } }
      end.all? { |pid| Process.wait2(pid).last.success? })
    RUBY
    cable_server.broadcast("chat", "last")
    data = received_until('"last"').map { |_, json| JSON.parse(json) }
    expect(data.delete("parent")).to eq "parent"
    expect(data.group_by(&:first).transform_values { |list| list.map(&:last) })
      .to eq(3.times.to_h { |child| [child, [*0...20]] })
  end

  it "raise for what cannot be sent, with the value and the remedy" do
    server = cable_server
    { "" => "1", "a\nb" => "1", "x" * 1025 => "1", "\xFF" => "1" }.each do |name, payload|
      expect { server.pubsub.broadcast(name, payload) }.to raise_error(ArgumentError, /Action Cable stream "/)
    end
    expect { server.broadcast("chat", "raw", coder: nil) }
      .to raise_error(ArgumentError, /cannot broadcast "raw" on "chat": it is not JSON .* Leave out coder: nil/)
    expect { server.broadcast("chat", "x" * 70_000) }
      .to raise_error(Lineside::PayloadTooLarge, /on "chat": the message has 70002 bytes.*payload_bytes_max/)
    expect { server.pubsub.broadcast("chat", "#{'[' * 101}#{']' * 101}") }.to raise_error(ArgumentError, /100 levels/)
    expect(Lineside.publisher.status).to include(accepted: 0)
  end

  it "that are not accepted return false, and are logged once a second" do
    use(Lineside.config) { |config| config.spool_bytes_max = 100 }
    server = cable_server
    expect(Array.new(50) { server.broadcast("chat", "x" * 30) }).to include(true, false)
    expect(eventually { log.string[/dropped publications: (\d+) were not accepted/, 1] }.to_i).to be_between(1, 49)
    expect(log.string.scan("dropped publications").size).to be <= 2
  end
end
