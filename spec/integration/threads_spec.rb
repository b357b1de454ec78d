# frozen_string_literal: true

RSpec.describe "Threads", :sidecar do
  before { start_sidecar }

  it "publish in order, without losses or duplicates" do
    browser = browse(channels: ["orders"])
    publish = ->(thread) { 250.times { |number| Lineside.publish("orders", [thread, number]) } }
    threads = Array.new(8) { |thread| Thread.new(thread, &publish) }
    threads.each(&:join)
    Lineside.publish("orders", "last")
    received = browser.data_until("last")[..-2]
    expect(received.size).to eq(2000)
    expect(received.group_by(&:first).values).to all(satisfy { |own| own.map(&:last) == (0...250).to_a })
  end

  it "each wait for their own receipt" do
    receipts = Array.new(8) { |thread| Thread.new { Array.new(20) { Lineside.publish!("c#{thread}", 1).cursor } } }
    cursors = receipts.flat_map(&:value)
    expect(cursors.uniq.size).to eq(160)
  end

  it "keep running while one waits" do
    sidecar.signal(:STOP)
    waiting = Thread.new { Lineside.publish!("orders", 1, timeout: 20) }
    eventually("the wait") { waiting.status == "sleep" }
    expect(Array.new(1000) { Lineside.publish("orders", 2) }).to all(be(true))
    sidecar.signal(:CONT)
    expect(waiting.value).to be_a(Lineside::Receipt)
  end

  it "raise an error in a Ractor, and publish in the others" do
    output = ruby(<<~RUBY, env: publisher_env)
      require "lineside"
      Warning[:experimental] = false
      Lineside.publish!("orders", 1)
      ractors = %w[publish publish! publish_to disconnect token].map do |name|
        Ractor.new(name) do |method|
          Lineside.public_send(method, "orders", *(2 if method.start_with?("publish")))
        rescue Ractor::Error => e
          e.class.name
        end
      end
      puts ractors.map { |ractor| ractor.respond_to?(:value) ? ractor.value : ractor.take }
      puts Lineside.publish!("orders", 3).class
    RUBY
    expect(output.lines(chomp: true)).to match [*[/\ARactor::(Isolation|Unsafe)Error\z/] * 5, "Lineside::Receipt"]
  end
end
