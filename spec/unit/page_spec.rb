# frozen_string_literal: true

require "active_support"
require "active_support/core_ext/string/inflections"
require "active_support/message_verifier"
require "lineside/page"

RSpec.describe Lineside::Page do
  let(:verifier) { ActiveSupport::MessageVerifier.new("a key of the specs") }

  before do
    allow(described_class).to receive(:verifier).and_return(verifier)
    use(Lineside.config) { |config| config.user = -> {} }
  end

  def renewed(seconds_left)
    page = { sub: nil, channels: ["board"], allow: [], exp: Time.now.to_i + seconds_left }
    described_class.renewed(Object.new, verifier.generate(JSON.generate(page)))
  end

  it "renews a page's own grants until they expire" do
    expect(renewed(60)).to be_a(described_class)
    expect(renewed(0)).to be_nil
  end
end
