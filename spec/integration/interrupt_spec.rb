# frozen_string_literal: true

require "timeout"

RSpec.describe "The wait of publish!", :sidecar do
  before do
    start_sidecar
    Lineside.publish!("orders", "linked")
    sidecar.signal(:STOP)
  end

  def wait_forever = Lineside.publish!("orders", 1, timeout: 3600)

  def waiting_thread(&)
    Thread.new(&).tap do |thread|
      thread.report_on_exception = false
      eventually("the wait") { thread.status == "sleep" }
    end
  end

  it "is interrupted by Timeout" do
    expect { Timeout.timeout(0.1) { wait_forever } }.to raise_error(Timeout::Error)
    expect { Timeout.timeout(0.1) { Lineside.flush(timeout: 3600) } }.to raise_error(Timeout::Error)
    expect(Lineside.publish("orders", "after")).to be(true)
  end

  it "is interrupted by Thread#kill and Thread#raise, and runs ensure" do
    ensured = false
    thread = waiting_thread do
      wait_forever
    ensure
      ensured = true
    end
    thread.kill
    eventually("the end") { !thread.alive? }
    expect(ensured).to be(true)
    thread = waiting_thread { wait_forever }
    thread.raise(IOError, "stop")
    expect { thread.value }.to raise_error(IOError, "stop")
  end

  it "is interrupted by Ctrl-C" do
    5.times do
      process = start_ruby(<<~RUBY, env: publisher_env)
        require "lineside"
        begin
          puts "waiting"
          Lineside.publish!("orders", 1, timeout: 3600)
        rescue Interrupt
          puts "interrupted"
          exit!(0)
        end
      RUBY
      process.written(/waiting/)
      eventually("the wait") { File.read("/proc/#{process.pid}/wchan").match?(/poll/) }
      process.signal(:INT)
      expect(process.wait).to be_success
      expect(process.output).to include("interrupted")
    end
  end

  it "continues after a handled signal, and returns its receipt" do
    process = start_ruby(<<~RUBY, env: publisher_env)
      require "lineside"
      trap(:USR1) { puts "handled \#{Lineside.publish("orders", "from the handler")}" }
      puts "waiting"
      puts Lineside.publish!("orders", 1, timeout: 3600).cursor
    RUBY
    process.written(/waiting/)
    eventually("the wait") { File.read("/proc/#{process.pid}/wchan").match?(/poll/) }
    process.signal(:USR1)
    process.written(/handled true/)
    sidecar.signal(:CONT)
    expect(process.wait).to be_success
    expect(process.output).to match(/^[\w-]+\.\d+$/)
  end

  it "leaks no file descriptor when it is interrupted" do
    # Collects garbage of other examples first, so that it does not change the count.
    descriptors = lambda do
      GC.start
      Dir.children("/proc/self/fd").size
    end
    before = descriptors.call
    20.times { waiting_thread { wait_forever }.kill.join }
    expect(descriptors.call).to be <= before
    sidecar.signal(:CONT)
    expect(Lineside.publish!("orders", "after", timeout: 20)).to be_a(Lineside::Receipt)
  end
end
