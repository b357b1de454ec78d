# frozen_string_literal: true

require "tmpdir"

RSpec.describe Lineside::Publishing do
  before do
    use(Lineside.config) { |config| config.link = "unix:#{Dir.mktmpdir}/no-sidecar.sock" }
  end

  def accepted = Lineside.publisher.status[:accepted]

  it "accepts publications without a sidecar" do
    expect(Lineside.publish("orders", { id: 7 })).to be(true)
    expect(Lineside.publish_to("42", nil)).to be(true)
    expect(Lineside.publish_all([["orders", 1], [%w[orders 7], "two"]])).to be(true)
    expect(accepted).to eq(3)
  end

  it "creates no Ruby object for a String, also in an app with a database" do
    output = ruby(<<~RUBY)
      # frozen_string_literal: true
      require "active_record"
      require "lineside"
      ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ":memory:")
      ActiveRecord::Base.connection.execute("SELECT 1")
      Lineside.configure { |config| config.link = "unix:/nowhere/no-sidecar.sock" }
      count = lambda do |&call|
        GC.start
        GC.disable
        call.call
        before = GC.stat(:total_allocated_objects)
        1000.times(&call)
        (GC.stat(:total_allocated_objects) - before).tap { GC.enable }
      end
      text = "x" * 128
      puts "direct \#{count.call { Lineside.publish("orders", text) }}"
      puts "with keywords \#{count.call { Lineside.publish("orders", text, now: true) }}"
    RUBY
    direct, with_keywords = ["direct", "with keywords"].map { |call| Integer(output[/^#{call} (\d+)$/, 1]) }
    # Some are those of the measurement and of the monitor's thread.
    expect(direct).to be < 100
    expect(with_keywords).to be > 1000
  end

  it "refuses data as keywords, with a remedy" do
    [-> { Lineside.publish_to("42", unread: 3) }, -> { Lineside.publish("orders", id: 7) },
     -> { Lineside.publish!("orders", 1, id: 7) }, -> { Lineside.publish("orders", {}, soon: true) }]
      .each { |call| expect(&call).to raise_error(ArgumentError, /wrap the data in { }/) }
    expect(accepted).to eq(0)
  end

  it "refuses missing data and accepts nil" do
    expect { Lineside.publish("orders") }.to raise_error(ArgumentError, /no data/)
    expect(Lineside.publish("orders", nil)).to be(true)
  end

  it "refuses reserved and invalid channel names" do
    ["user:42", "cable:x", "a*", "", nil].each do |channel|
      expect { Lineside.publish(channel, 1) }.to raise_error(ArgumentError)
      expect { Lineside.publish_all([["fine", 1], [channel, 2]]) }.to raise_error(ArgumentError)
    end
    expect { Lineside.publish_to(nil, 1) }.to raise_error(ArgumentError, /no user/)
    expect(accepted).to eq(0)
  end

  it "refuses invalid pairs in publish_all" do
    [[["orders"]], ["orders"], [["orders", 1, 2]], [nil], "orders"].each do |publications|
      expect { Lineside.publish_all(publications) }.to raise_error(ArgumentError, /pairs/)
    end
  end

  it "refuses data that is too large, single and in total" do
    expect { Lineside.publish("orders", "x" * 65_535) }.to raise_error(Lineside::PayloadTooLarge, /65537 bytes/)
    expect(Lineside.publish("orders", "x" * 65_534)).to be(true)
    many = Array.new(20) { ["orders", "x" * 60_000] }
    expect { Lineside.publish_all(many) }.to raise_error(Lineside::PayloadTooLarge, /together/)
    expect(accepted).to eq(1)
  end

  it "refuses a whole publish_all with text that is not UTF-8" do
    ["\xFF", "\x00\xFF".b, "é".encode("ISO-8859-1")].each do |text|
      expect { Lineside.publish("orders", text) }.to raise_error(ArgumentError)
      expect { Lineside.publish_all([["orders", 1], ["orders", { text: }]]) }.to raise_error(ArgumentError)
    end
    expect(accepted).to eq(0)
  end

  it "refuses invalid once: ids" do
    ["", "x" * 256, "\xFF", [], Object.new].each do |id|
      expect { Lineside.publish("orders", 1, once: id) }.to raise_error(ArgumentError, /once:/)
    end
    expect(Lineside.publish("orders", 1, once: "order-7-paid")).to be(true)
  end

  it "refuses invalid time-outs" do
    [-1, 3601, "soon", Float::NAN, nil].each do |timeout|
      expect { Lineside.publish!("orders", 1, timeout:) }.to raise_error(ArgumentError)
      expect { Lineside.flush(timeout:) }.to raise_error(ArgumentError, /timeout/)
    end
  end

  it "returns no cursor before the first link, and opens the link" do
    expect(Lineside.cursor).to be_nil
    expect(eventually { Lineside.publisher.status[:last_error] }).to include("no-sidecar.sock")
  end

  it "raises Unconfirmed with the link's error and a remedy" do
    Lineside.publisher.connect
    eventually("the link's error") { Lineside.publisher.status[:last_error] }
    expect { Lineside.publish!("orders", 1, timeout: 0.05) }
      .to raise_error(Lineside::Unconfirmed, /no-sidecar\.sock.*bundle exec lineside.*once:/)
  end

  it "returns false, counts and logs one line if the spool is full" do
    use(Lineside.config) { |config| config.spool_bytes_max = 1000 }
    answers = Array.new(100) { Lineside.publish("orders", "x" * 100) }
    full = answers.index(false)
    expect(full).to be_between(5, 9)
    expect(answers.drop(full)).to all(be(false))
    expect(Lineside.publisher.status[:dropped_full]).to eq(100 - full)
    line = eventually("a line") { log.string[/^.*dropped.*\n/] }
    expect(line).to match(/#{100 - full} were not accepted \(the spool is full.*no-sidecar\.sock.*bundle exec lineside/)
    expect(log.string.scan("dropped").size).to eq(1)
    expect { Lineside.publish!("orders", "x" * 100) }.to raise_error(Lineside::NotAccepted, /spool is full/)
  end

  it "publishes from a signal handler, also the first time" do
    output = ruby(<<~RUBY, env: { "LINESIDE_LINK" => "unix:/nowhere/lineside.sock" })
      require "lineside"
      trap(:USR1) { $answer = Lineside.publish("orders", 1) }
      Process.kill(:USR1, Process.pid)
      Thread.pass until $answer
      Lineside.configure { |config| config.logger = Logger.new(IO::NULL) }
      print $answer
    RUBY
    expect(output).to eq("true")
  end

  it "publishes from a signal handler of an app with a database and a debug log" do
    output = ruby(<<~RUBY, env: { "LINESIDE_LINK" => "unix:/nowhere/lineside.sock" })
      require "active_record"
      require "lineside"
      require "lineside/log_subscriber"
      Lineside.configure { |config| config.logger = Logger.new(IO::NULL) }
      ActiveRecord::Base.logger = ActiveSupport::LogSubscriber.logger = Logger.new($stdout)
      Lineside::LogSubscriber.attach_to(:lineside)
      ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ":memory:")
      ActiveRecord::Base.connection.select_value("SELECT 1")
      answers = []
      trap(:USR1) { answers << Lineside.publish("orders", 1) << Lineside.publish_to(7, [1]) }
      2.times do |number|
        Process.kill(:USR1, Process.pid)
        Thread.pass until answers.size == 2 * (number + 1)
      end
      ActiveRecord::Base.transaction do
        Process.kill(:USR1, Process.pid)
        Thread.pass until answers.size == 6
      end
      print answers.inspect, Lineside.publisher.status[:accepted]
    RUBY
    expect(output).to end_with("[true, true, true, true, true, true]6")
    expect(output).not_to match(/log writing failed|orders/)
  end

  it "accepts a process title that is not UTF-8, in any locale" do
    ["C", "C.UTF-8"].each do |locale|
      output = ruby(<<~'RUBY', env: { "LINESIDE_LINK" => "unix:/nowhere/m\xFCsli.sock".b, "LC_ALL" => locale })
        $0 = "sidekiq m\xFCsli [1 of 5 busy]\n"
        require "lineside"
        Lineside.config.logger = Logger.new(IO::NULL)
        print Lineside.publish("orders", 1)
        Thread.pass until (error = Lineside.publisher.status[:last_error])
        print error.encoding, error.valid_encoding?
      RUBY
      expect(output).to eq("trueUTF-8true")
    end
  end

  it "raises documented errors without file descriptors, and names the limit" do
    output = ruby(<<~'RUBY', env: { "LINESIDE_LINK" => "unix:/nowhere/lineside.sock" })
      require "lineside"
      Lineside.config.logger = Logger.new($stdout)
      Process.setrlimit(:NOFILE, 64)
      files = []
      fill = lambda do
        loop { files << File.open(IO::NULL) }
      rescue Errno::EMFILE
        nil
      end
      attempt = lambda do |call|
        puts call.call.inspect
      rescue StandardError => e
        puts "#{e.class} #{e.message}"
      end
      calls = [-> { Lineside.publish("orders", 1) }, -> { Lineside.publish!("orders", 1) }, -> { Lineside.disconnect!(7) }]
      Lineside.publisher.then { fill.call }
      Lineside.publisher.connect
      calls.each(&attempt)
      files.pop(8).each(&:close)
      attempt.call(calls[0])
      Thread.pass until Lineside.publisher.status[:last_error]
      fill.call
      [*calls, -> { Lineside.flush }].each(&attempt)
    RUBY
    lines = output.lines
    expect(lines[0]).to eq("false\n")
    expect(lines[1..2]).to all(match(/\ALineside::NotAccepted not accepted, cannot start the thread.*ulimit -n/))
    expect(lines[3..4]).to eq(%W[true\n true\n])
    expect(lines[5..7]).to all(match(/\ALineside::Unconfirmed cannot wait .*ulimit -n/))
    expect(lines[8..]).to all(match(/were not accepted|exiting with \d unconfirmed/))
  end

  it "allows as_json of the data to publish" do
    nested = Class.new { def as_json(*) = Lineside.publish("inner", "x" * 1000) }.new
    expect(Lineside.publish("outer", [nested])).to be(true)
    expect(accepted).to eq(2)
  end
end
