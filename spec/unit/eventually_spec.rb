# frozen_string_literal: true

RSpec.describe Eventually do
  before { stub_const("Eventually::STALL_SECONDS_MAX", 2) }

  # Runs a child until the block returns.
  def beside(script)
    child = start_ruby(script)
    yield child
  end

  it "waits longer than the time-out while a child works" do
    beside "loop { }" do
      started = clock
      eventually { clock - started > 4 }
    end
  end

  it "fails when the children do nothing" do
    beside "puts 'asleep'; sleep" do |child|
      child.written(/asleep/)
      expect { eventually("the end") { child.ended? } }.to raise_error(/the end .*: no progress for \d s/)
    end
  end

  it "fails at the longest wait although a child works" do
    stub_const("Eventually::SECONDS_MAX", 1)
    beside("loop { }") { expect { eventually { false } }.to raise_error(/within 1 s/) }
  end
end
