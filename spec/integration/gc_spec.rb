# frozen_string_literal: true

RSpec.describe "Garbage collection", :sidecar do
  it "leaves published data intact under stress and compaction" do
    # The browser answers no ping while this example waits for the other process.
    start_sidecar("LINESIDE_HEARTBEAT_SECONDS" => "3600")
    browser = browse(channels: ["orders"])
    ruby(<<~RUBY, env: publisher_env)
      require "lineside"
      require "active_support"
      require "active_support/json"
      Thing = Struct.new(:number, :text)
      data = ->(number) { { "text" => "x<" * 20, number: number, list: [1.5, nil, :sym, 2**70, Thing.new(number, "é")], 1 => number } }
      Lineside.publish!("orders", data.call(0))
      GC.stress = true
      (1..3).each { |number| Lineside.publish("orders", data.call(number)) }
      GC.stress = false
      GC.auto_compact = true if GC.respond_to?(:auto_compact=)
      (4..20).each do |number|
        Lineside.publish("orders", data.call(number))
        GC.compact if GC.respond_to?(:compact)
      end
      Lineside.publish!("orders", "last", timeout: 60)
    RUBY
    received = browser.data_until("last")[..-2]
    expect(received.map { |data| data["number"] }).to eq((0..20).to_a)
    expect(received).to all(include("text" => "x<" * 20, "1" => kind_of(Integer)))
    expect(received.map { |data| data["list"] }.uniq { |list| list[0..3] }.size).to eq(1)
  end
end
