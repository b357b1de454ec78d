# frozen_string_literal: true

RSpec.describe Lineside::Native do
  it "converts a panic into an error, with and without the GVL" do
    output = ruby(<<~RUBY)
      require "lineside"
      [false, true].each do |without_gvl|
        Lineside::Native.provoke_panic(without_gvl)
      rescue Lineside::Error => e
        puts "rescued: \#{e.message}"
      end
      puts Lineside::Native.encode({ still: "alive" }, 0)
    RUBY
    expect(output.lines.grep(/rescued: .*provoked/).size).to eq(2)
    expect(output.lines.last).to eq("{\"still\":\"alive\"}\n")
  end

  it "frees the spool space of held publications at garbage collection" do
    use(Lineside.config) { |config| config.spool_bytes_max = 10_000 }
    Lineside.publisher
    hold = -> { described_class.hold([["orders", "x" * 1000]], nil, nil) }
    Array.new(9) { hold.call }
    expect(hold.call).to match(/spool is full/)
    eventually("room") { GC.start || hold.call.is_a?(described_class::Held) }
    held = hold.call
    expect(described_class.release(held)).to be(true)
    expect([described_class.release(held), described_class.publish_held(held)]).to eq([false, nil])
  end
end
