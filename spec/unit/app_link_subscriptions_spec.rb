# frozen_string_literal: true

require "lineside/app_link"

RSpec.describe Lineside::AppLink::Subscriptions do
  subject(:subscriptions) { described_class.new }

  let(:first) { ->(payload) { payload } }
  let(:second) { ->(payload) { payload } }
  let(:confirmed) { -> {} }

  before { subscriptions.reset }

  def answer(name, cursor) = subscriptions.followed([{ "name" => name, "cursor" => cursor, "lost" => false }])

  def subscribe_live(name, cursor)
    subscriptions.add(name, self, first, confirmed)
    subscriptions.changes
    answer(name, cursor)
  end

  it "requests a stream once, and confirms with the answer" do
    expect(subscriptions.add("a", self, first, confirmed)).to be false
    expect(subscriptions.add("a", self, second, nil)).to be false
    expect(subscriptions.changes).to eq [[], [{ name: "a" }]]
    expect(subscriptions.changes).to eq [[], []]
    expect(subscriptions.published("a", "e.1")).to eq []
    expect(answer("a", "e.1")).to eq [["a", confirmed]]
    expect(subscriptions.published("a", "e.2")).to eq [first, second]
    expect(subscriptions.add("a", self, -> {}, confirmed)).to be true
    expect(subscriptions.changes).to eq [[], []]
  end

  it "unfollows a stream with its last subscriber" do
    subscribe_live("a", "e.1")
    subscriptions.add("a", self, second, nil)
    subscriptions.remove("a", first)
    expect(subscriptions.active?("a", first)).to be false
    expect(subscriptions.changes).to eq [[], []]
    subscriptions.remove("a", second)
    subscriptions.remove("a", second)
    subscriptions.remove("never", second)
    expect(subscriptions.published("a", "e.2")).to eq []
    expect(subscriptions.changes).to eq [["a"], []]
    expect(subscriptions.published("a", "e.3")).to eq []
  end

  it "sends nothing if a stream is subscribed again at once" do
    subscribe_live("a", "e.1")
    subscriptions.remove("a", first)
    expect(subscriptions.add("a", self, second, confirmed)).to be true
    expect(subscriptions.changes).to eq [[], []]
    expect(subscriptions.published("a", "e.2")).to eq [second]
  end

  it "does not confirm with the answer to an earlier request" do
    subscriptions.add("a", self, first, confirmed)
    subscriptions.changes
    subscriptions.remove("a", first)
    expect(subscriptions.changes).to eq [["a"], []]
    subscriptions.add("a", self, second, confirmed)
    expect(subscriptions.changes).to eq [[], [{ name: "a" }]]
    expect(answer("a", "e.1")).to eq []
    expect(subscriptions.published("a", "e.2")).to eq []
    expect(subscriptions.reached("e.2")).to eq []
    expect(answer("a", "e.3")).to eq [["a", confirmed]]
    expect(subscriptions.published("a", "e.4")).to eq [second]
  end

  it "resumes each stream after its newest cursor" do
    subscribe_live("a", "e.1")
    subscribe_live("b", "e.2")
    subscriptions.reached("e.3")
    subscriptions.published("b", "e.4")
    subscriptions.add("c", self, first, nil)
    subscriptions.reset
    expect(subscriptions.changes)
      .to eq [[], [{ name: "a", after: "e.3" }, { name: "b", after: "e.4" }, { name: "c" }]]
  end

  it "replays to the subscribers of before alone" do
    subscribe_live("a", "e.1")
    subscriptions.reset
    expect(subscriptions.add("a", self, second, confirmed)).to be false
    subscriptions.changes
    expect(answer("a", "e.1")).to eq []
    expect(subscriptions.published("a", "e.2")).to eq [first]
    expect(subscriptions.reached("e.2")).to eq [["a", confirmed]]
    expect(subscriptions.published("a", "e.3")).to eq [first, second]
  end

  it "keeps the cursor of a stream whose replay was interrupted" do
    subscribe_live("a", "e.1")
    subscriptions.reset
    subscriptions.changes
    subscriptions.reached("e.9")
    answer("a", "e.1")
    subscriptions.reset
    expect(subscriptions.changes).to eq [[], [{ name: "a", after: "e.1" }]]
  end

  it "forgets streams without a subscriber when there is no link" do
    subscribe_live("a", "e.1")
    subscriptions.remove("a", first)
    subscriptions.reset
    expect(subscriptions.changes).to eq [[], []]
    subscribe_live("b", "e.2")
    subscriptions.reset
    subscriptions.remove("b", first)
    subscriptions.add("b", self, second, nil)
    expect(subscriptions.changes).to eq [[], [{ name: "b" }]]
  end

  it "removes the callbacks of an owner" do
    subscribe_live("a", "e.1")
    subscriptions.add("a", :other, second, nil)
    subscriptions.add("b", self, first, nil)
    subscriptions.remove_all(self)
    expect(subscriptions.published("a", "e.2")).to eq [second]
    expect(subscriptions.changes).to eq [[], []]
  end

  it "refuses streams beyond the maximum of the sidecar" do
    stub_const("#{described_class}::STREAMS_MAX", 2)
    %w[a b].each { |name| subscriptions.add(name, self, first, nil) }
    expect { subscriptions.add("c", self, first, nil) }.to raise_error(Lineside::Error, /2 Action Cable streams/)
    subscriptions.add("a", self, second, nil)
    subscriptions.remove("b", first)
    subscriptions.add("c", self, first, nil)
  end
end
