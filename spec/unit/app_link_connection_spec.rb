# frozen_string_literal: true

require "lineside/app_link"

RSpec.describe "Frames of an app link" do
  around { |example| Dir.mktmpdir("lineside") { |folder| (@path = "#{folder}/link.sock") && example.run } }

  let!(:server) { UNIXServer.new(@path) }
  let(:connection) { Lineside::AppLink::Connection.new(@path) }
  let(:peer) { connection && server.accept }

  def read_frame(socket)
    size, kind, = socket.read(8).unpack("N C")
    [kind, JSON.parse(socket.read(size - 4))]
  end

  def write_frame(kind, body)
    json = JSON.generate(body)
    peer.write([4 + json.bytesize, kind, 0, 0].pack("N C C n"), json)
  end

  after { server.close }

  # Thread of a link, which opens it and sends what other threads write.
  # @return [Lineside::AppLink::Connection]
  def run_link
    wakes, writer = IO.pipe
    opened = Queue.new
    quietly do
      opened << (link = Lineside::AppLink::Connection.new(@path, writer))
      loop { link.wait(wakes).include?(wakes) && wakes.read_nonblock(1024) }
    end
    opened.pop
  end

  # Thread whose errors are part of the example.
  def quietly(&)
    Thread.new(&).tap { |thread| thread.report_on_exception = false }
  end

  # Frames that the peer receives, read by a thread until it has as many.
  def receive(count)
    peer
    reader = Thread.new { Array.new(count) { read_frame(peer).last } }
    yield
    connection.wait(nil, 0.01) while reader.alive?
    reader.value
  end

  it "arrive whole and in the order of each thread" do
    received = receive(2000) do
      4.times do |thread|
        Thread.new { 500.times { |number| connection.write(52, { thread:, number:, text: "x" * 2000 }) } }
      end
    end
    numbers = received.group_by { |it| it["thread"] }.transform_values { |list| list.map { |it| it["number"] } }
    expect(numbers).to eq((0...4).to_h { |thread| [thread, [*0...500]] })
  end

  it "are whole if a time-out ends the thread that writes them" do
    peer
    reader = Thread.new { true until read_frame(peer).last["last"] }
    20.times do
      writer = Thread.new { loop { connection.write(52, { text: "x" * 100_000 }) } }
      writer.report_on_exception = false
      connection.wait(nil, 0.01)
      writer.raise("time-out")
      expect { writer.join }.to raise_error("time-out")
    end
    connection.write(51, { last: true })
    eventually("the last frame") { connection.wait(nil, 0.01) && !reader.alive? }
  end

  it "end the link if the sidecar does not read" do
    stub_const("Lineside::AppLink::Connection::STALL_SECONDS_MAX", 0.2)
    peer
    writer = Thread.new { 100.times.map { connection.write(52, { text: "x" * 100_000 }) }.last }
    expect { loop { connection.wait(nil, 1) } }.to raise_error(Lineside::AppLink::Connection::Stalled, /has not read/)
    connection.close
    expect(writer.value).to be false
  end

  it "begin with the app's decision about connections by route, if there is one" do
    decision = { turbo_keys: [], decided_ms: 7 }
    session = Lineside::AppLink::Session.new(connection, Lineside::AppLink::Subscriptions.new,
                                             Lineside::AppLink::Report.new, nil, decision)
    write_frame(176, { version: 1, cursor: "a.1" })
    session.greet
    expect(read_frame(peer).last).to include("runner" => false, "by_route" => decision.transform_keys(&:to_s))
  end

  it "give the reason for the end that has arrived before a write fails" do
    session = Lineside::AppLink::Session.new(connection, Lineside::AppLink::Subscriptions.new,
                                             Lineside::AppLink::Report.new)
    peer.write([4 + 2 + 4, 134, 0, 0].pack("N C C n"), [111].pack("n"), "slow")
    peer.close
    connection.write(52, { text: "x" })
    expect { session.turn(IO.pipe.first) }.to raise_error(Lineside::AppLink::Connection::Refused, "slow")
  end

  it "are handled if they arrive together with the welcome" do
    commands = []
    runner = Object.new.tap { |it| it.define_singleton_method(:command) { |*command| commands << command } }
    session = Lineside::AppLink::Session.new(connection, Lineside::AppLink::Subscriptions.new,
                                             Lineside::AppLink::Report.new, runner)
    write_frame(176, { version: 1, cursor: "a.1" })
    write_frame(180, { connection: "0.1", command: "close" })
    session.greet
    expect(read_frame(peer)).to eq [48, { "version" => 1, "process" => Lineside::AppLink.process, "runner" => true }]
    expect(commands).to eq [[{ "connection" => "0.1", "command" => "close" }, connection]]
  end
end
