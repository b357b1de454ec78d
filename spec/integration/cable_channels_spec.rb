# frozen_string_literal: true

RSpec.describe "Action Cable channels that run in the app", :app, :sidecar do
  let(:events_file) { File.join(@folder, "events") }

  before { start_sidecar }

  def serve(*arguments, **options)
    super(*arguments, env: { "CABLE_EVENTS" => events_file }, **options)
  end

  def connect(user, **options)
    CableBrowser.new(@port, path: "/cable?user=#{user}", **options).tap do |browser|
      browsers << browser
      expect(browser.receive).to eq("type" => "welcome")
    end
  end

  def room(room = 1, **params) = CableBrowser.identifier("RoomChannel", room:, **params)

  # Connects a browser and subscribes.
  def enter(user = "ada", identifier = room)
    connect(user).tap do |browser|
      expect(browser.subscribe(identifier)).to eq("identifier" => identifier, "type" => "confirm_subscription")
    end
  end

  def perform(browser, action, identifier = room, **data)
    browser.send_json(command: "message", identifier:, data: JSON.generate(action:, **data))
  end

  def broadcast(stream, data)
    command = [publisher_env, Lineside::Binary.path, "publish", "cable:#{stream}", JSON.generate(data)]
    expect(start(command).wait).to be_success
  end

  # Events that the app has noted, in their order.
  def events = File.exist?(events_file) ? File.readlines(events_file, chomp: true).grep_v(/connect/) : []

  def connects = File.readlines(events_file, chomp: true).grep(/^connect/).size

  def disconnects = File.readlines(events_file, chomp: true).grep(/^disconnect/)

  def expect_events(*expected)
    eventually("the events #{expected}, not #{events}") { events.size >= expected.size }
    expect(events).to match_array(expected)
  end

  def message(data, identifier = room) = { "identifier" => identifier, "message" => data }

  # Starts a sidecar for the app that runs.
  def start_sidecar_again
    port = @port
    start_sidecar
    @port = port
  end

  # Calls an action, and returns its answer.
  def answer(browser, action, identifier = room, **data)
    perform(browser, action, identifier, **data)
    received = browser.receive
    expect(received["identifier"]).to eq identifier
    received.fetch("message")
  end

  # Publishes numbers on the stream of a room until the block returns true.
  # @return [Integer] the last number
  def publish_until(number = 0)
    eventually("the condition") do
      Lineside.publisher.publish([["cable:room:1", number += 1]], now: true)
      yield
    end
    Lineside.flush(timeout: 10)
    number
  end

  # Receives in a thread until the message "end", because a browser that answers no pings is disconnected.
  # @return [Thread] its value is the list of messages
  def receive_until_end(browser, identifier = room)
    Thread.new { [].tap { |received| received << browser.receive until received.last == message("end", identifier) } }
  end

  # Messages of {#publish_until} and the last one.
  def messages(last) = [*1..last, "end"].map { |data| message(data) }

  # Checks that each `unsubscribed` followed its `subscribed`, at least twice.
  def expect_pairs(events)
    expect(events.each_slice(2).uniq).to eq [%w[subscribed unsubscribed]]
    expect(events.size).to be >= 4
  end

  # Checks that a browser has received nothing else.
  def expect_quiet(browser)
    expect(answer(browser, "process_id")).to be_an Integer
  end

  it "subscribe, perform, transmit and stream" do
    serve
    browser = enter
    other = enter("ben")
    expect([answer(browser, "count"), answer(browser, "count"), answer(other, "count")]).to eq [1, 2, 1]
    broadcast("room:1", { "text" => "<hello>" })
    [browser, other].each { |it| expect(it.receive).to eq message({ "text" => "<hello>" }) }
    puma.written(/RoomChannel#count/)
    puma.written(/RoomChannel is streaming from room:1/)
  end

  it "keep the state of two subscriptions of a connection apart" do
    serve
    tens = room(1, from: 10)
    browser = enter("ada", tens)
    browser.subscribe(twenties = room(2, from: 20))
    expect([tens, twenties, tens].map { |identifier| answer(browser, "count", identifier) }).to eq [11, 21, 12]
  end

  it "receive streams with a block and a coder beside those that the sidecar sends" do
    serve
    both = room(1, block: true)
    browser = enter("ada", both)
    20.times { |number| broadcast("block:1", number) }
    expect(Array.new(20) { browser.receive }).to eq(Array.new(20) { |number| message([number], both) })
    broadcast("room:1", "direct")
    expect(browser.receive).to eq message("direct", both)
  end

  it "reject subscriptions" do
    serve
    browser = connect("ada")
    locked = room(1, locked: true)
    expect(browser.subscribe(locked)).to eq("identifier" => locked, "type" => "reject_subscription")
    expect_events("subscribed 1 ada", "unsubscribed 1 ada")
    expect(browser.subscribe(room)).to include("type" => "confirm_subscription")
  end

  it "stop streams" do
    serve
    browser = enter
    other = enter("ben")
    perform(browser, "stop")
    expect_quiet(browser)
    broadcast("room:1", 1)
    expect(other.receive).to eq message(1)
    expect_quiet(browser)
  end

  it "run timers until the subscription ends" do
    serve
    browser = enter("ada", room(1, ticks: true))
    2.times { expect(browser.receive).to eq message("tick", room(1, ticks: true)) }
    browser.send_json(command: "unsubscribe", identifier: room(1, ticks: true))
    expect_events("subscribed 1 ada", "unsubscribed 1 ada")
  end

  it "survive errors of actions, which are logged or rescued" do
    serve
    browser = enter
    perform(browser, "fail_loudly")
    expect(answer(browser, "fail_quietly")).to eq "rescued"
    puma.written(/Could not execute command from .*fail_loudly.*RuntimeError - no luck/)
    expect(answer(browser, "count")).to eq 1
  end

  it "are unsubscribed once each, by the browser or by its end" do
    serve
    browser = enter
    browser.send_json(command: "unsubscribe", identifier: room)
    expect_events("subscribed 1 ada", "unsubscribed 1 ada")
    browser.subscribe(room(2))
    browser.subscribe(room(3))
    browser.close
    expect_events(*[1, 2, 3].flat_map { |number| ["subscribed #{number} ada", "unsubscribed #{number} ada"] })
    eventually("disconnect") { disconnects == ["disconnect ada"] }
  end

  it "let a connection without subscriptions disconnect" do
    serve
    connect("ada").close
    eventually("disconnect") { disconnects == ["disconnect ada"] }
  end

  it "of a hanging action do not hold up other connections" do
    serve
    browser = enter
    other = enter("ben")
    File.mkfifo(release = File.join(@folder, "release"))
    perform(browser, "hang", until: release)
    3.times { |number| expect(answer(other, "count")).to eq number + 1 }
    broadcast("room:1", "all")
    [browser, other].each { |it| expect(it.receive).to eq message("all") }
    browser.close
    expect(answer(other, "count")).to eq 4
    File.write(release, "now")
    expect_events("subscribed 1 ada", "subscribed 1 ben", "unsubscribed 1 ada")
  end

  it "move to the other worker if theirs is killed in the middle of an action" do
    serve(workers: 2)
    browser = enter
    workers = children(puma.pid)
    expect(workers).to include(died = answer(browser, "process_id"))
    answer(browser, "count")
    perform(browser, "die")
    eventually("the events") { events.size == 3 }
    expect(events).to eq ["subscribed 1 ada", "unsubscribed 1 ada", "subscribed 1 ada"]
    expect(answer(browser, "process_id")).not_to eq died
    expect(answer(browser, "count")).to eq 1
    broadcast("room:1", "still here")
    expect(browser.receive).to eq message("still here")
    browser.close
    expect_events(*["subscribed 1 ada", "unsubscribed 1 ada"] * 2)
    expect([connects, disconnects.size]).to eq [1, 1]
  end

  it "are unsubscribed with their instance variables if their worker is killed" do
    serve(workers: 2)
    counted = room(1, from: 4, counted: true)
    browser = enter("ada", counted)
    answer(browser, "count", counted)
    perform(browser, "die", counted)
    eventually("the events") { events.size == 3 }
    expect(events).to eq ["subscribed 1 ada", "unsubscribed:5 1 ada", "subscribed 1 ada"]
    expect(answer(browser, "count", counted)).to eq 5
    browser.close
    expect_events("subscribed 1 ada", "unsubscribed:5 1 ada", "subscribed 1 ada", "unsubscribed:5 1 ada")
  end

  it "move to the new workers of a phased restart, and streams go on" do
    serve(workers: 2, config: File.join(ROOT, "spec/dummy/config/puma_phased.rb"))
    names = %w[ada ben cem]
    received = names.to_h { |name| enter(name).then { |browser| [browser, receive_until_end(browser)] } }
    restart_phased
    last = publish_until { puma.output.scan(/Worker \d .*booted.*phase: 1/).size == 2 }
    broadcast("room:1", "end")
    received.each do |browser, thread|
      expect(thread.value).to eq messages(last)
      expect(children(puma.pid)).to include(answer(browser, "process_id"))
      browser.close
    end
    eventually("the end") { disconnects.size == 3 }
    # The first restart of a worker can move connections to one that is restarted next.
    names.each { |name| expect_pairs(events_of(name)) }
    expect(connects).to eq 3
  end

  it "wait for the next start of a Puma that was stopped, and streams go on meanwhile" do
    serve
    browser = enter
    stop_app
    expect_events("subscribed 1 ada", "unsubscribed 1 ada")
    broadcast("room:1", "meanwhile")
    perform(browser, "count")
    serve
    expect(browser.receive).to eq message("meanwhile")
    expect(browser.receive).to eq message(1)
    expect_events("subscribed 1 ada", "unsubscribed 1 ada", "subscribed 1 ada")
    expect(connects).to eq 1
  end

  it "run an action that waits while its process stops in the next process, and once" do
    serve
    browser = enter
    enter("ben")
    old = answer(browser, "process_id")
    File.mkfifo(release = File.join(@folder, "release"))
    perform(browser, "hang", until: release)
    %w[count process_id].each { |action| perform(browser, action) }
    puma.written(/RoomChannel#hang/)
    command("stop")
    # Behind ada's action, the process now gives her connection to the next one.
    expect_events("subscribed 1 ada", "subscribed 1 ben", "unsubscribed 1 ben")
    File.write(release, "now")
    puma.wait
    serve
    expect(browser.receive).to eq message(1)
    expect(browser.receive["message"]).not_to eq old
    expect(answer(browser, "count")).to eq 2
    expect(events_of("ada")).to eq %w[subscribed unsubscribed subscribed]
  end

  it "move through a hot restart of a single Puma" do
    serve
    received = receive_until_end(browser = enter)
    restart_hot
    last = publish_until { puma.output.match?(/Inherited tcp:/) && events.size == 3 }
    broadcast("room:1", "end")
    expect(received.value).to eq messages(last)
    expect(events).to eq ["subscribed 1 ada", "unsubscribed 1 ada", "subscribed 1 ada"]
    expect(answer(browser, "count")).to eq 1
    puma.written(/this process stops, and other processes run the channels of 1 connections/)
  end

  # Puma answers SIGUSR1 by a hot restart if the app is preloaded.
  { USR2: /Gracefully shutting down workers/, USR1: /restarting normally/ }.each do |signal, effect|
    it "move through a restart by SIG#{signal} of a cluster with preload_app! and hooks that broadcast" do
      serve(workers: 2, config: File.join(ROOT, "spec/dummy/config/puma_hooks.rb"))
      names = %w[ada ben cem]
      received = names.to_h { |name| enter(name).then { |browser| [browser, receive_until_end(browser)] } }
      hooks = receive_until_end(enter("dan", room("hooks")), room("hooks"))
      puma.signal(signal)
      puma.written(effect)
      last = publish_until { puma.output.scan(/Worker \d .*booted/).size == 4 }
      %w[1 hooks].each { |name| broadcast("room:#{name}", "end") }
      received.each do |browser, thread|
        expect(thread.value).to eq messages(last)
        expect(children(puma.pid)).to include(answer(browser, "process_id"))
      end
      expect(hooks.value.map { |it| it["message"] }).to match_array(%w[fork boot boot end])
      names.each { |name| expect_pairs([*events_of(name), "unsubscribed"]) }
      expect([connects, disconnects]).to eq [4, []]
    end
  end

  it "move to workers that a worker has forked" do
    serve(workers: 2, config: File.join(ROOT, "spec/dummy/config/puma_fork_worker.rb"))
    received = enter_each_worker.transform_values { |browser| [browser, receive_until_end(browser)] }
    puma.signal(:URG)
    puma.written(/Starting (worker refork|phased worker restart)/)
    last = publish_until { puma.output.match?(/Worker 1 .*booted.*phase: 1/) }
    broadcast("room:1", "end")
    received.each_value do |browser, thread|
      expect(thread.value).to eq messages(last)
      expect(answer(browser, "count")).to eq 1
      browser.close
    end
    eventually("the end") { disconnects.size == received.size }
    received.each_key { |name| expect(events_of(name).each_slice(2).uniq).to eq [%w[subscribed unsubscribed]] }
    expect(events.size).to be > received.size * 2
  end

  # Connects browsers until each of two workers runs the channels of one.
  # @return [Hash{String => CableBrowser}] by name of the user
  def enter_each_worker
    browsers = {}
    eventually("a connection of each worker") do
      name = "guest#{browsers.size}"
      browsers[name] = enter(name)
      browsers.values.map { |browser| answer(browser, "process_id") }.uniq.size == 2
    end
    browsers
  end

  def events_of(name) = events.grep(/ #{name}\z/).map { |event| event.split.first }

  it "run in Puma with the connection if Puma itself terminates TLS" do
    serve_tls
    browser = connect("ada", tls: true)
    other = connect("ben", tls: true)
    [browser, other].each { |it| expect(it.subscribe(room)).to include("type" => "confirm_subscription") }
    broadcast("room:1", "hello")
    [browser, other].each { |it| expect(it.receive).to eq message("hello") }
    expect(answer(browser, "count")).to eq 1
    browser.receive_ping
    browser.close
    expect_events("subscribed 1 ada", "subscribed 1 ben", "unsubscribed 1 ada")
    reason = /Rails serves Action Cable in this process, because this server terminates TLS itself.*let a proxy/
    expect(puma.output.scan(reason).size).to eq 1
    expect(puma.output).not_to include("hand-off failed")
  end

  it "end when the sidecar stops, each with one unsubscribed, and each connection with one disconnect" do
    serve
    browser = enter
    browser.subscribe(room(2))
    connect("ben")
    sidecar.signal(:TERM)
    sidecar.wait
    expect_events("subscribed 1 ada", "subscribed 2 ada", "unsubscribed 1 ada", "unsubscribed 2 ada")
    eventually("disconnect") { disconnects.size >= 2 }
    start_sidecar_again
    expect_quiet(enter("cem"))
    expect(events.size).to eq 5
    expect(disconnects).to match_array ["disconnect ada", "disconnect ben"]
  end

  it "end when the sidecar is killed, each with one unsubscribed, and their connection with one disconnect" do
    serve
    enter
    sidecar.signal(:KILL)
    sidecar.wait
    expect_events("subscribed 1 ada", "unsubscribed 1 ada")
    start_sidecar_again
    enter("ben").close
    eventually("disconnect") { disconnects.size >= 2 }
    expect(disconnects).to eq ["disconnect ada", "disconnect ben"]
    expect(events.size).to eq 4
  end
end
