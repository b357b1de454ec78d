# frozen_string_literal: true

require "lineside/printable"

RSpec.describe Lineside::Printable do
  it "escapes control and format characters, and keeps letters" do
    expect(described_class.of("a\e[31m\r\n\u202e\u200b\u2028é 中 🚲"))
      .to eq "a\\u{1b}[31m\\u{d}\\u{a}\\u{202e}\\u{200b}\\u{2028}é 中 🚲"
  end

  it "names the records of a channel" do
    order = "Z2lkOi8vYXBwL09yZGVyLzc"
    expect(described_class.channel("#{order}:lines")).to eq "#{order} (gid://app/Order/7):lines"
    expect(described_class.channel("orders:xZ2lkOi8vYXBw")).to eq "orders:xZ2lkOi8vYXBw"
    expect(described_class.channel("Z2lkOi8vGw")).to eq "Z2lkOi8vGw (gid://\\u{1b})"
  end

  it "takes bytes that are no UTF-8" do
    expect(described_class.of("a\xFFb\e".b)).to eq "a\uFFFDb\\u{1b}"
    expect(described_class.of("é".b)).to eq "é"
  end
end
