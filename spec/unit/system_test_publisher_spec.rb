# frozen_string_literal: true

require "tmpdir"
require "lineside/system_test"

RSpec.describe Lineside::SystemTest::Publisher do
  let(:publisher) do
    use(Lineside.config) do |config|
      config.link = "unix:#{Dir.mktmpdir}/no-sidecar.sock"
      config.spool_bytes_max = 100
    end
    described_class.new(Lineside.config)
  end

  def publish(data, **options) = publisher.publish([["orders", data]], **options)

  it "records only what was accepted" do
    captured = publisher.capture do
      expect([1, "x" * 200, 2].map { |data| publish(data) }).to eq [true, false, true]
      expect { publish("y" * 200, timeout: 1) }.to raise_error(Lineside::NotAccepted)
    end
    expect(captured.map(&:data)).to eq [1, 2]
    expect(publisher.publications).to eq captured
  end
end
