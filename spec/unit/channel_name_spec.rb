# frozen_string_literal: true

RSpec.describe Lineside::ChannelName do
  let(:order) { Struct.new(:to_param).new("7") }
  let(:global) { Struct.new(:to_gid_param, :to_param).new("Z2lkOi8v", "7") }

  def name(channel) = described_class.of(channel)

  it "accepts a String unchanged" do
    ["orders", "a b", "orders:7", "été", "x" * 255, "users:1", "user", "cablecar:1"].each do |channel|
      expect(name(channel)).to eq(channel)
    end
  end

  it "names a record by its global id or its param" do
    expect(name(global)).to eq("Z2lkOi8v")
    expect(name(order)).to eq("7")
  end

  it "joins the names of an array as Turbo does" do
    expect(name([global, :comments, ["new", order]])).to eq("Z2lkOi8v:comments:new:7")
  end

  it "names records of two classes without global ids differently" do
    record = Class.new(Struct.new(:to_param)) { def self.model_name = Struct.new(:name).new(self::NAME) }
    posts = %w[Post PostComment Post::Comment].map do |name|
      Class.new(record) { const_set(:NAME, name) }.new("7-title")
    end
    expect(posts.map { |post| name(post) }).to eq(%w[post-7-title post_comment-7-title post/comment-7-title])
    expect(name([posts[0], :likes])).to eq("post-7-title:likes")
  end

  it "refuses a part that contains the separator beside other parts" do
    part = Struct.new(:to_param).new("1:secret")
    [%w[room 1:secret], %w[room:1 secret], [["room", ["1:2"]]], [:"a:b", 1], ["room", part]].each do |channel|
      expect { name(channel) }.to raise_error(ArgumentError, /contains the separator ":".*one by one/)
    end
    expect([name(["room:1"]), name([["room"], [[1, :secret]]])]).to eq(%w[room:1 room:1:secret])
  end

  it "refuses objects without a name" do
    [nil, Object.new, { a: 1 }, ["orders", nil]].each do |channel|
      expect { name(channel) }.to raise_error(ArgumentError, /names no channel/)
    end
  end

  it "refuses a blank name or part" do
    ["", " ", "\u00A0\u3000", [], ["a", " "], [[]], ["a", []], Struct.new(:to_param).new(nil)].each do |channel|
      expect { name(channel) }.to raise_error(ArgumentError, /blank/)
    end
  end

  it "refuses an unsaved record" do
    record = Struct.new(:to_param) { def new_record? = true }.new("7")
    expect { name([record]) }.to raise_error(ArgumentError, /not saved/)
  end

  it "refuses an invalid name with the broken rule" do
    { "x" * 256 => /256 bytes/, "é" * 128 => /256 bytes/, "a\u0000" => /control/, "a\nb" => /control/,
      "a\u0085" => /control/, "chat:*" => /\*/, "\xFF" => /UTF-8/, "é".encode("ISO-8859-1") => /ISO-8859-1/,
      "orders".encode("UTF-16LE") => /UTF-16LE/ }.each do |channel, problem|
      expect { name(channel) }.to raise_error(ArgumentError, problem)
    end
  end

  it "refuses the reserved prefixes, in Strings and in joined parts" do
    ["user:42", "cable:posts", %w[user 42], [:cable, "x"], "user:"].each do |channel|
      expect { name(channel) }.to raise_error(ArgumentError, /reserved/)
    end
    expect { name("user:42") }.to raise_error(ArgumentError, /publish_to/)
  end
end
