# frozen_string_literal: true

require "tmpdir"

RSpec.describe Lineside::Publishing do
  before do
    use(Lineside.config) { |config| config.link = "unix:#{Dir.mktmpdir}/no-sidecar.sock" }
  end

  def accepted = Lineside.publisher.status[:accepted]

  it "accepts without a sidecar, and says so" do
    expect(Lineside.publish("orders", { id: 7 })).to be(true)
    expect(Lineside.publish_to("42", nil)).to be(true)
    expect(Lineside.publish_all([["orders", 1], [%w[orders 7], "two"]])).to be(true)
    expect(accepted).to eq(3)
  end

  it "refuses data as bare keywords, and says what to do" do
    [-> { Lineside.publish_to("42", unread: 3) }, -> { Lineside.publish("orders", id: 7) },
     -> { Lineside.publish!("orders", 1, id: 7) }, -> { Lineside.publish("orders", {}, soon: true) }]
      .each { |call| expect(&call).to raise_error(ArgumentError, /wrap the data in { }/) }
    expect(accepted).to eq(0)
  end

  it "refuses to publish nothing at all, while nil is data" do
    expect { Lineside.publish("orders") }.to raise_error(ArgumentError, /no data/)
    expect(Lineside.publish("orders", nil)).to be(true)
  end

  it "refuses reserved and impossible names" do
    ["user:42", "cable:x", "a*", "", nil].each do |channel|
      expect { Lineside.publish(channel, 1) }.to raise_error(ArgumentError)
      expect { Lineside.publish_all([["fine", 1], [channel, 2]]) }.to raise_error(ArgumentError)
    end
    expect { Lineside.publish_to(nil, 1) }.to raise_error(ArgumentError, /no user/)
    expect(accepted).to eq(0)
  end

  it "refuses pairs that are none" do
    [[["orders"]], ["orders"], [["orders", 1, 2]], [nil], "orders"].each do |publications|
      expect { Lineside.publish_all(publications) }.to raise_error(ArgumentError, /pairs/)
    end
  end

  it "refuses data that is too large, alone and together" do
    expect { Lineside.publish("orders", "x" * 65_535) }.to raise_error(Lineside::PayloadTooLarge, /65537 bytes/)
    expect(Lineside.publish("orders", "x" * 65_534)).to be(true)
    many = Array.new(20) { ["orders", "x" * 60_000] }
    expect { Lineside.publish_all(many) }.to raise_error(Lineside::PayloadTooLarge, /together/)
    expect(accepted).to eq(1)
  end

  it "refuses text that is not UTF-8, and publishes none of what came with it" do
    ["\xFF", "\x00\xFF".b, "é".encode("ISO-8859-1")].each do |text|
      expect { Lineside.publish("orders", text) }.to raise_error(ArgumentError)
      expect { Lineside.publish_all([["orders", 1], ["orders", { text: }]]) }.to raise_error(ArgumentError)
    end
    expect(accepted).to eq(0)
  end

  it "refuses once: ids that are none" do
    ["", "x" * 256, "\xFF", [], Object.new].each do |id|
      expect { Lineside.publish("orders", 1, once: id) }.to raise_error(ArgumentError, /once:/)
    end
    expect(Lineside.publish("orders", 1, once: "order-7-paid")).to be(true)
  end

  it "refuses timeouts that are none" do
    [-1, 3601, "soon", Float::NAN, nil].each do |timeout|
      expect { Lineside.publish!("orders", 1, timeout:) }.to raise_error(ArgumentError)
      expect { Lineside.flush(timeout:) }.to raise_error(ArgumentError, /timeout/)
    end
  end

  it "has no cursor before the first link, and asks for it" do
    expect(Lineside.cursor).to be_nil
    expect(eventually { Lineside.publisher.status[:last_error] }).to include("no-sidecar.sock")
  end

  it "says what is wrong when publish! has no answer" do
    expect { Lineside.publish!("orders", 1, timeout: 0.05) }
      .to raise_error(Lineside::Unconfirmed, /no-sidecar\.sock.*bundle exec lineside.*once:/)
  end

  it "says false when the spool is full, counts, and logs one line with the remedy, also when nothing follows" do
    use(Lineside.config) { |config| config.spool_bytes_max = 1000 }
    answers = Array.new(100) { Lineside.publish("orders", "x" * 100) }
    full = answers.index(false)
    expect(full).to be_between(5, 9)
    expect(answers.drop(full)).to all(be(false))
    expect(Lineside.publisher.status[:dropped_full]).to eq(100 - full)
    line = eventually("a line") { log.string[/^.*dropped.*\n/] }
    expect(line).to match(/#{100 - full} were not accepted, the spool is full.*no-sidecar\.sock.*bundle exec lineside/)
    expect(log.string.scan("dropped").size).to eq(1)
    expect { Lineside.publish!("orders", "x" * 100) }.to raise_error(Lineside::NotAccepted, /spool is full/)
  end

  it "works inside a signal handler, also as the first thing a process publishes" do
    output = ruby(<<~RUBY, env: { "LINESIDE_LINK" => "unix:/nowhere/lineside.sock" })
      require "lineside"
      trap(:USR1) { $answer = Lineside.publish("orders", 1) }
      Process.kill(:USR1, Process.pid)
      Thread.pass until $answer
      $stdout.syswrite($answer.to_s)
      exit!(true)
    RUBY
    expect(output).to eq("true")
  end

  it "lets the data's own as_json publish" do
    nested = Class.new { def as_json(*) = Lineside.publish("inner", "x" * 1000) }.new
    expect(Lineside.publish("outer", [nested])).to be(true)
    expect(accepted).to eq(2)
  end
end
