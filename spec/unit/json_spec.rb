# frozen_string_literal: true

require "active_support"
require "active_support/json"
require "active_support/core_ext/hash/indifferent_access"
require "active_support/core_ext/string/output_safety"
require "active_support/time"
require "bigdecimal"
require "set"
require "json"

# Random nested data from a seed.
class RandomData
  SCALARS = %i[string symbol integer float bignum literal other].freeze
  OTHERS = [
    Time.utc(2026, 1, 2, 3, 4, 5.678r), Date.new(2026, 1, 2), DateTime.new(2026, 1, 2, 3), BigDecimal("12.30"),
    BigDecimal("NaN"), Rational(1, 3), 1..3, Set[1, "<"], Struct.new(:name, :tag).new("é", :t), "<b>".html_safe,
    { "a" => { b: 1 } }.with_indifferent_access, /re+/, StandardError.new("bad & worse"), 90.minutes,
    Time.utc(2026).in_time_zone("Europe/Paris"),
    Class.new { def as_json(*) = { "own" => [self.class.name, "\u2029"] } }.new
  ].freeze

  def initialize(seed)
    @random = Random.new(seed)
  end

  def value(level = 0)
    case level < 5 ? @random.rand(10) : 9
    when 0..2 then Array.new(@random.rand(5)) { value(level + 1) }
    when 3..5 then hash(level)
    else public_send(SCALARS.sample(random: @random))
    end
  end

  def hash(level)
    keys = %i[string symbol integer key].sample(random: @random)
    Array.new(@random.rand(5)) { [public_send(keys), value(level + 1)] }.to_h
  end

  def key = public_send(%i[string symbol integer float literal].sample(random: @random))

  def string
    alphabet = [*(0..0x7F).map(&:chr), "<", ">", "&", "\u2028", "\u2029", "é", "語", "😀", "\u00E2", "\u{E280}"]
    Array.new(@random.rand(12)) { alphabet.sample(random: @random) }.join.encode("UTF-8")
  end

  def symbol = string.to_sym
  def integer = @random.rand((-(2**40)..(2**40)))
  def bignum = @random.rand((-(2**90)..(2**90)))
  def literal = [nil, true, false].sample(random: @random)
  def other = OTHERS.sample(random: @random)

  # Random bit patterns, and magnitudes around the change to scientific notation.
  def float
    return [@random.rand(2**64)].pack("Q").unpack1("D") if @random.rand(2).zero?

    @random.rand * (10.0**@random.rand(-8..20)) * [1, -1].sample(random: @random)
  end
end

RSpec.describe Lineside::Json do
  def encode(value) = Lineside::Native.encode(value, 0)

  # Versions of the json gem write floats differently, such as 1.0e+20 and 1e+20.
  def without_notation(json)
    json.gsub(/-?\d+(?:\.\d+)?(?:e[+-]?\d+)?/i) { |number| number[/\A-?\d+\z/] || Float(number) }
  end

  # @return [String, nil] nil if json 3 refuses the value, because keys of a hash are equal in JSON
  def encode_by_rails(value)
    ActiveSupport::JSON.encode(value)
  rescue JSON::GeneratorError => e
    e.message.include?("duplicate key") ? nil : raise
  end

  it "equals ActiveSupport's output for 3,000 random values, except for the notation of floats" do
    seed = Integer(ENV.fetch("JSON_SEED", 20_261_122))
    3000.times do |round|
      value = RandomData.new(seed + round).value
      expected = encode_by_rails(value)
      next expect { encode(value) }.to raise_error(ArgumentError, /duplicate key/) unless expected

      encoded = encode(value)
      expect(without_notation(encoded)).to eq(without_notation(expected)), "JSON_SEED=#{seed + round}: #{value.inspect}"
      expect(JSON.parse(encoded)).to eq(JSON.parse(expected))
    end
  end

  it "escapes a character at each position of a longer text" do
    ['"', "\\", "\n", "\u0000", "\u001F", "<", ">", "&", "\u2028", "\u2029", "\u00E2", "é", "😀"].each do |character|
      50.times do |index|
        text = ["a" * index, character, "b" * (49 - index), character].join
        expect(encode(text)).to eq(ActiveSupport::JSON.encode(text))
      end
    end
  end

  it "writes floats as Ruby does" do
    edges = [97_263_033_315_662.125, 0.0, -0.0, 1e15, 1e16, 9_999_999_999_999_998.0, 1e17, 1e20, 1e21, 1e100,
             1e-3, 1e-4, 1e-5, 1.5e-10, 5e-324, Float::MAX, Float::MIN, Float::EPSILON, 0.1 + 0.2, 123_456_789.123]
    edges.each { |float| expect(encode(float)).to eq(float.to_s) }
  end

  it "writes null for NaN and infinity" do
    expect(encode([Float::NAN, Float::INFINITY, -Float::INFINITY])).to eq("[null,null,null]")
  end

  it "escapes <, > and & as the app is configured" do
    was = ActiveSupport.escape_html_entities_in_json
    ActiveSupport.escape_html_entities_in_json = false
    expect(encode("<&>\u2028")).to eq('"<&>\u2028"')
    ActiveSupport.escape_html_entities_in_json = true
    expect(encode("<&>\u2028")).to eq('"\u003c\u0026\u003e\u2028"')
  ensure
    ActiveSupport.escape_html_entities_in_json = was
  end

  it "resolves keys that are equal in JSON like ActiveSupport, or refuses them like json 3" do
    data = { "a" => 1, a: 2, 1 => 3, "1" => 4, nil => 5 }
    expected = encode_by_rails(data)
    next expect(encode(data)).to eq(expected) if expected

    expect { encode(data) }.to raise_error(ArgumentError, /Hash cannot be encoded as JSON: .*duplicate key "a".*differ/)
  end

  it "writes equal keys of a Hash that compares by identity once" do
    keys = [["a", +"a"], [+"a", "b", +"a"], [2**70, 2**70], %i[a a], %w[a]]
    keys.each do |list|
      data = list.each_with_index.with_object({}.compare_by_identity) { |(key, index), hash| hash[key] = index }
      expect(encode([data])).to eq(ActiveSupport::JSON.encode([data]))
    end
    expect(encode({ +"a" => 1, +"b" => 2 }.compare_by_identity)).to eq('{"a":1,"b":2}')
  end

  it "calls a singleton as_json of a String, a Hash and an Array" do
    own = [+"plain", { plain: 1 }, ["plain"]].each { |value| value.define_singleton_method(:as_json) { |*| "own" } }
    own.each { |value| expect(encode(value)).to eq(ActiveSupport::JSON.encode(value)) }
  end

  it "refuses text that is not UTF-8, and names its encoding" do
    ["\xFF", { "k\xC3" => 1 }, [{ deep: "\xE2\x80" }], { "a" => "\xFF" }.with_indifferent_access].each do |data|
      expect { encode(data) }.to raise_error(ArgumentError, /UTF-8/i)
    end
    expect { encode("\xFF".b) }.to raise_error(ArgumentError, /ASCII-8BIT|BINARY/)
    expect { encode("é".encode("ISO-8859-1")) }.to raise_error(ArgumentError, /ISO-8859-1/)
    expect { encode("ascii".encode("UTF-16LE")) }.to raise_error(ArgumentError, /UTF-16LE/)
    expect { encode("é".encode("ISO-8859-1").to_sym) }.to raise_error(ArgumentError, /ISO-8859-1/)
  end

  it "accepts ASCII text in every ASCII-compatible encoding" do
    expect(encode(["a".b, "a".encode("ISO-8859-1"), "a".encode("US-ASCII")])).to eq('["a","a","a"]')
  end

  it "accepts 100 nested levels and refuses 101" do
    nested = ->(levels) { levels.times.inject(1) { |inner, _| [inner] } }
    expect(encode(nested[100])).to eq("#{'[' * 100}1#{']' * 100}")
    expect { encode(nested[101]) }.to raise_error(ArgumentError, /100 levels/)
    expect { encode([{ a: nested[99] }.with_indifferent_access]) }.to raise_error(ArgumentError, /100 levels/)
  end

  it "refuses data that contains itself" do
    array = []
    array << { again: array }
    object = Class.new { def as_json(*) = { again: self } }.new
    expect { encode(array) }.to raise_error(ArgumentError, /holds itself/)
    expect { encode(object) }.to raise_error(ArgumentError, /holds itself/)
  end

  it "refuses data that nests too deep for the JSON generator of the app" do
    object = Object.new
    allow(ActiveSupport::JSON).to receive(:encode).and_raise(JSON::NestingError, "nesting of 101 is too deep")
    expect { encode([object]) }.to raise_error(ArgumentError, /holds itself, or is nested too deeply/)
  end

  it "refuses a record with the digest of a password, except in production" do
    user = Class.new { def as_json(*) = { "id" => 7, "password_digest" => "$2a$12$K0" } }.new
    unset = Class.new { def as_json(*) = { "id" => 7, "password_digest" => nil } }.new
    [user, { user: }, [[user]]].each do |data|
      expect { encode(data) }.to raise_error(ArgumentError, /contains password_digest.*slice\(:id, :name\)/)
    end
    expect(encode(unset)).to eq('{"id":7,"password_digest":null}')
    use(Lineside.config) { |config| config.app_environment = "production" }
    expect(encode(user)).to include("password_digest")
  end

  it "allows as_json to raise, throw and encode" do
    raising = Class.new { def as_json(*) = raise(IOError, "the app's own") }.new
    throwing = Class.new { def as_json(*) = throw(:out, :thrown) }.new
    publishing = Class.new { def as_json(*) = Lineside::Native.encode({ inner: "x" * 5000 }, 0).size }.new
    expect { encode({ before: 1, raising: }) }.to raise_error(IOError, "the app's own")
    expect(catch(:out) { encode([throwing]) }).to eq(:thrown)
    expect(encode({ outer: publishing, after: "same" })).to eq('{"outer":5012,"after":"same"}')
  end

  it "encodes an Array that changes while it is encoded" do
    array = []
    shrinking = Class.new { define_method(:as_json) { |*| array.clear && nil } }.new
    array.push(shrinking, 2, 3)
    expect(encode(array)).to eq("[null]")
  end

  it "encodes without ActiveSupport" do
    script = <<~RUBY
      require "lineside"
      object = Class.new { def to_s = "an object" }.new
      hash = Class.new(Hash)["k", Float::NAN]
      hash[:k] = [Class.new(Array)[1], Class.new { def as_json = { "own" => object_id.zero? } }.new]
      puts Lineside::Native.encode(["<&>", 1.5, nil, :s, Float::NAN, object, hash, Class.new(String).new("sub")], 0)
      begin
        holder = Class.new { def as_json = [self] }.new
        Lineside::Native.encode(holder, 0)
      rescue ArgumentError => e
        puts e.message
      end
    RUBY
    written, cyclic = ruby(script).lines
    expect(JSON.parse(written)).to eq(
      ["<&>", 1.5, nil, "s", nil, "an object", { "k" => [[1], { "own" => false }] }, "sub"]
    )
    expect(cyclic).to match(/holds itself/)
  end
end
