# frozen_string_literal: true

RSpec.describe Lineside::CursorHistory do
  it "returns the newest cursor of a time, and nil before the first" do
    history = described_class.new
    [[10.0, "a.1"], [11.0, nil], [12.0, "a.2"], [13.0, "b.1"]].each { |time, cursor| history.add(cursor, time) }
    expect([9.9, 10.0, 11.9, 12.5, 13.0, 99.0].map { |time| history.at(time) })
      .to eq([nil, "a.1", "a.1", "a.2", "b.1", "b.1"])
  end

  it "keeps samples of the maximum age, and no more" do
    history = described_class.new
    1000.times { |second| history.add("a.#{second}", second.to_f) }
    expect(history.at(999.0 - described_class::SECONDS_MAX)).to eq("a.#{999 - described_class::SECONDS_MAX}")
    expect(history.at(900.0)).to be_nil
  end
end
