# frozen_string_literal: true

RSpec.describe Lineside::Native do
  it "turns a panic into an error that can be rescued, with the GVL and without" do
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
end
