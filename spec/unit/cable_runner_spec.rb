# frozen_string_literal: true

require "global_id"

RSpec.describe "Channels that a process runs for the sidecar", :cable_classes do
  let(:link) { RunnerLink.new }
  let(:connections) { connection_class { identified_by :current_user } }
  let(:server) { server_of(connections).tap { |server| server.config.cable = { "adapter" => "inline" } } }
  let(:errors) { StringIO.new }
  let(:runner) { Lineside::Cable::Runner.new(server) }
  let(:context) { Lineside::Cable::Context.generate({ current_user: "7" }, {}) }
  let(:calls) { Queue.new }
  let(:room) { CableBrowser.identifier("RoomChannel") }
  let(:confirmation) { [:transmit, { "identifier" => room, "type" => "confirm_subscription" }] }

  before do
    executor = Class.new { def self.wrap = yield }
    allow(Rails).to receive(:application).and_return(double(executor:, env_config: {}))
    server.config.logger = Logger.new(errors)
    Lineside::Cable::Connection.install
    allow(ActionCable).to receive(:server).and_return(server)
    allow(Lineside::Cable).to receive(:channels) { @channels ||= Lineside::Cable::Channels.new([], connections) }
  end

  # Class of the channel.
  def channel(&)
    calls = self.calls
    channel = stub_const("RoomChannel", Class.new(ActionCable::Channel::Base))
    channel.define_method(:call) { |*words| calls << words }
    channel.send(:private, :call)
    channel.class_eval(&)
  end

  # Sends a command, and returns the frames up to its end.
  def command(command, identifier = room, connection: "0.1", **more)
    @id = command == "close" ? 0 : @id.to_i + 1
    send_command(command, identifier, connection:, **more)
    link.until([:done, @id])[..-2]
  end

  def send_command(command, identifier, connection: "0.1", id: @id, **more)
    body = { connection:, id:, command:, identifier:, context:, **more }
    runner.command(JSON.parse(JSON.generate(body)), link)
  end

  def perform(action, **data) = command("message", data: JSON.generate(action:, **data))

  def called = Array.new(calls.size) { calls.pop }

  def subscribe(...) = command("subscribe", ...)

  # Subscribes to a channel that is confirmed later, because it has a stream in the process.
  def subscribe_in_process
    send_command("subscribe", room, id: @id = @id.to_i + 1)
    expect(link.until(confirmation, [:done, @id]).size).to eq 2
  end

  def message(data) = [:transmit, { "identifier" => room, "message" => data }]

  it "open streams in the sidecar before the subscription is confirmed" do
    channel do
      def subscribed
        stream_from("room:1")
        stream_from(:all, coder: ActiveSupport::JSON)
      end
    end
    expect(subscribe).to eq [[:stream, room, "room:1"], [:stream, room, "all"], confirmation]
    server.broadcast("room:1", "hello")
    expect(perform("nothing")).to eq []
  end

  it "keep their instance variables between commands, beside other subscriptions of the connection" do
    channel do
      def subscribed = @count = params[:from]
      def count = transmit(@count += 1)
    end
    identifiers = [10, 20].map { |from| CableBrowser.identifier("RoomChannel", from:) }
    identifiers.each { |identifier| subscribe(identifier) }
    counted = [0, 1, 0, 1].flat_map do |at|
      command("message", identifiers[at], data: JSON.generate(action: "count")).map { |_, text| text.values }
    end
    expect(counted).to eq [[identifiers[0], 11], [identifiers[1], 21], [identifiers[0], 12], [identifiers[1], 22]]
  end

  it "are rejected, and unsubscribed once" do
    channel do
      def subscribed = stream_from("room:1") && reject
      def unsubscribed = call("unsubscribed")
    end
    expect(subscribe).to eq [[:stream, room, "room:1"], [:stop_stream, room, "room:1"],
                             [:transmit, { "identifier" => room, "type" => "reject_subscription" }]]
    command("close")
    expect(called).to eq [%w[unsubscribed]]
  end

  it "stop streams in the sidecar" do
    channel do
      def subscribed = %w[a b c].each { |name| stream_from(name) }
      def stop = stop_stream_from("b")
      def stop_all = stop_all_streams
    end
    subscribe
    expect(perform("stop")).to eq [[:stop_stream, room, "b"]]
    expect(perform("stop_all")).to eq [[:stop_stream, room, "a"], [:stop_stream, room, "c"]]
  end

  it "receive streams with a block or a coder in the process, in order" do
    channel do
      def subscribed
        stream_from("block", coder: ActiveSupport::JSON) { |data| transmit([data]) }
        stream_from("coder", coder: Class.new { def self.decode(text) = text.reverse })
      end
    end
    subscribe_in_process
    500.times { |number| server.broadcast("block", number) }
    expect(link.until(message([499]))).to eq(Array.new(500) { |number| message([number]) })
    server.broadcast("coder", "ab")
    expect(link.until(message('"ba"'))).to eq [message('"ba"')]
    expect(command("unsubscribe")).to eq []
    server.broadcast("block", 1)
    subscribe_in_process
  end

  it "receive streams in the process if a method is changed that Rails calls for each message" do
    channel do
      def subscribed = stream_from("room:1")

      private

      def transmit(data, via: nil) = super("<#{data}>", via:)
    end
    subscribe_in_process
    server.broadcast("room:1", "hello")
    expect(link.until(message("<hello>"))).to eq [message("<hello>")]
  end

  it "survive an error of an action, which is logged or rescued" do
    channel do
      rescue_from(ArgumentError) { |error| transmit(error.message) }

      def fail_loudly = raise("no luck")
      def fail_quietly = raise(ArgumentError, "rescued")
      def work = transmit("works")
    end
    subscribe
    expect(perform("fail_loudly")).to eq []
    expect(perform("fail_quietly")).to eq [message("rescued")]
    expect(perform("work")).to eq [message("works")]
  end

  it "run timers until the subscription ends" do
    channel do
      periodically(every: 0.01) { transmit("tick") }
    end
    subscribe
    2.times { link.until(message("tick")) }
    command("unsubscribe")
  end

  it "are unsubscribed once each, with callbacks, when the browser leaves" do
    channel do
      after_unsubscribe { call("after") }

      def subscribed = stream_from("room:1")

      def unsubscribed
        call("unsubscribed", params[:number])
        transmit("too late")
        raise "an error of one" if params[:number] == 1
      end
    end
    connections.define_method(:disconnect) { subscriptions.identifiers.empty? || raise }
    identifiers = [1, 2].map { |number| CableBrowser.identifier("RoomChannel", number:) }
    identifiers.each { |identifier| subscribe(identifier) }
    expect(command("close")).to eq []
    expect(called).to eq [["unsubscribed", 1], ["unsubscribed", 2], ["after"]]
    # The same id, given to another browser.
    expect(subscribe(room)).to eq [[:stream, room, "room:1"], confirmation]
  end

  it "of a process that died are unsubscribed without being subscribed" do
    channel do
      def subscribed = call("subscribed")

      def unsubscribed
        call("unsubscribed", current_user)
        transmit("too late")
      end
    end
    expect(command("end")).to eq []
    expect(called).to eq [%w[unsubscribed 7]]
    expect(subscribe).to eq [confirmation]
    other = CableBrowser.identifier("RoomChannel", other: true)
    expect(command("close", nil, ended: [other, CableBrowser.identifier("GoneChannel")])).to eq []
    expect(called).to eq [%w[subscribed], %w[unsubscribed 7], %w[unsubscribed 7]]
  end

  it "of a process that died are unsubscribed with its records and plain values, if these fit" do
    stub_const("Room", room_class)
    channel do
      def subscribed = (@room = Room.new(7)) && @visits = { "ada" => [1, 2.5, nil] }

      def visit
        @visits["ben"] = [:now]
        @topic = :ruby
        @text = "x" * 100
      end

      def grow = @text *= 100

      def unsubscribed = call(@room&.id, @visits, @topic, @text, @other)
    end
    subscribe
    expect(ends(link.variables)).to eq [7, { "ada" => [1, 2.5, nil] }, nil, nil, nil]
    # A Symbol inside a Hash would come back as a String, so the Hash is not kept.
    perform("visit")
    expect(ends(link.variables)).to eq [7, nil, :ruby, "x" * 100, nil]
    perform("grow")
    expect(ends(link.variables)).to eq [7, nil, :ruby, nil, nil]
    perform("nothing")
    ended = { ended: [room], ended_variables: { room => link.variables } }
    expect(command("close", nil, connection: "0.8", **ended)).to eq []
    expect(called.last).to eq [7, nil, :ruby, nil, nil]
  end

  # Runs `unsubscribed` of an object that died with these variables, in another connection.
  def ends(variables)
    expect(command("end", connection: "0.7", variables:)).to eq []
    called.last
  end

  # Records that have a global id.
  def room_class
    GlobalID.app = "shop"
    Struct.new(:id) do
      include GlobalID::Identification
      def self.find(id) = new(Integer(id))
    end
  end

  it "of a process that died do not keep objects of the app, and a record that is gone is nil" do
    stub_const("Room", room_class)
    asked = []
    list = Class.new(Array) { define_method(:to_json) { |*| asked << self } }
    channel do
      define_method(:subscribed) do
        @room = Room.new(7)
        @list = list.new([1])
        @parts = [Object.new, @list]
      end
      def unsubscribed = call(@room, @list, @parts)
    end
    subscribe
    Room.define_singleton_method(:find) { |_| raise Class.new(StandardError) { def self.name = "RecordNotFound" } }
    expect(ends(link.variables)).to eq [nil, nil, nil]
    expect(asked).to eq []
  end

  it "of a process that died log why their unsubscribed fails" do
    channel do
      def subscribed = @users = []
      def unsubscribed = @users.delete(current_user)
    end
    expect(command("end")).to eq []
    expect(log.string).to include("`unsubscribed` of RoomChannel failed on a new channel object")
    expect(errors.string).to include("NoMethodError")
    subscribe
    log.truncate(0)
    expect(command("unsubscribe")).to eq []
    expect(log.string).to eq ""
  end

  it "run the connection's disconnect when the browser leaves, also without a channel" do
    calls = self.calls
    connections.define_method(:disconnect) { calls << current_user }
    command("close", nil, connection: "0.9")
    expect(called).to eq %w[7]
  end

  it "give their connection to another process when this one stops" do
    channel do
      def subscribed = stream_from("room:1")
      def unsubscribed = call("unsubscribed")
    end
    subscribe
    runner.leave
    expect(link.until([:left, "0.1"])).to eq [[:left, "0.1"]]
    # Commands that cross it, and a connection that the sidecar has assigned meanwhile.
    expect(command("message", data: "{}")).to eq [[:left, "0.1"]]
    expect(subscribe(connection: "0.2")).to eq [[:left, "0.2"], [:left, "0.2"]]
    expect(called).to eq [%w[unsubscribed]]
    command("end", connection: "0.3")
    expect(called).to eq [%w[unsubscribed]]
  end

  it "are unsubscribed when the sidecar has ended the link, and begin anew on the next one" do
    channel do
      def subscribed = @count = 0
      def unsubscribed = call("unsubscribed")
      def count = transmit(@count += 1)
    end
    subscribe
    perform("count")
    runner.link_ended(:leave)
    expect(called).to eq [%w[unsubscribed]]
    subscribe
    expect(perform("count")).to eq [message(1)]
  end

  describe "of a connection with a disconnect" do
    before do
      calls = self.calls
      connections.define_method(:disconnect) { calls << %w[disconnect] }
      channel { def unsubscribed = call("unsubscribed") }
      subscribe
    end

    it "end with it when the sidecar has ended, also if it has closed the connection before" do
      subscribe(connection: "0.2")
      send_command("close", nil, id: 0)
      runner.link_ended(:finish)
      runner.link_ended(:finish)
      expect(called).to match_array([%w[unsubscribed], %w[disconnect]] * 2)
    end

    it "end without it when other processes get the connection" do
      runner.link_ended(:leave)
      subscribe
      runner.leave
      link.until([:left, "0.1"])
      runner.link_ended(:finish)
      subscribe
      runner.link_ended(:drop)
      expect(called).to eq [%w[unsubscribed]] * 2
    end
  end

  it "are dropped when this process has ended the link, because the sidecar asks to end them" do
    channel do
      periodically(every: 0.01) { transmit("tick") }

      def unsubscribed = call("unsubscribed")
    end
    subscribe
    runner.link_ended(:drop)
    expect(called).to eq []
    expect(server.connections).to eq []
  end

  it "do not hold up those of another connection" do
    gate = Queue.new
    channel do
      define_method(:hang) { gate.pop }
      def work = transmit("works")
    end
    subscribe
    subscribe(connection: "0.2")
    send_command("message", room, id: 99, data: JSON.generate(action: "hang"))
    expect(command("message", connection: "0.2", data: JSON.generate(action: "work"))).to eq [message("works")]
    # Waits for the command before it.
    send_command("close", nil, id: 0)
    expect(link).to be_empty
    gate << true
    expect(link.until([:done, 0])).to eq [[:done, 99], [:done, 0]]
  end

  it "send no pings, which are the sidecar's" do
    channel { def work = transmit("works") }
    subscribe
    server.connections.each(&:beat)
    expect(perform("work")).to eq [message("works")]
  end

  it "end the connection if it closes itself, or if a record that identifies it is gone" do
    channel { def leave = connection.close(reason: "bye", reconnect: false) }
    subscribe
    bye = [:transmit, { "type" => "disconnect", "reason" => "bye", "reconnect" => false }]
    expect(perform("leave")).to eq [bye]
    expect(perform("leave")).to eq []
    allow(Lineside::Cable::Connection).to receive(:build).and_raise(Lineside::Cable::Context::Invalid, "the record 7")
    unauthorized = [:transmit, { "type" => "disconnect", "reason" => "unauthorized", "reconnect" => false }]
    expect(subscribe(connection: "0.2")).to eq [unauthorized]
    expect(log.string).to include("a connection of Action Cable ends: the record 7")
  end

  it "end the connection if the blocks of its streams cannot keep up" do
    gate = Queue.new
    channel do
      define_method(:subscribed) { stream_from("busy") { gate.pop } }
    end
    subscribe_in_process
    1100.times { |number| server.broadcast("busy", number) }
    slow = [:transmit, { "type" => "disconnect", "reason" => "slow", "reconnect" => true }]
    expect(link.until(slow)).to eq [slow]
    gate.close
    expect(command("close")).to eq []
    expect(log.string).to include("1000 messages wait for the blocks")
  end

  it "are closed before a reload of code, and ended afterwards" do
    channel { def unsubscribed = call("unsubscribed") }
    subscribe
    server.restart
    restart = [:transmit, { "type" => "disconnect", "reason" => "server_restart", "reconnect" => true }]
    expect(link.until(restart)).to eq [restart]
    command("close")
    expect(called).to eq [%w[unsubscribed]]
    expect(server.connections).to eq []
  end

  it "cannot transmit more than the sidecar takes" do
    channel { def shout = transmit("a" * 200_000) }
    subscribe
    expect(perform("shout")).to eq []
    expect(errors.string).to match(/PayloadTooLarge - a channel transmits 2\d{5} bytes, and 131072 are possible/)
  end
end
