# frozen_string_literal: true

RSpec.describe "Forks", :sidecar do
  let(:browser) { browse(channels: ["orders"]) }

  before do
    start_sidecar
    browser
  end

  def publish_in(script)
    ruby("require \"lineside\"\n#{script}", env: publisher_env)
    Lineside.publish!("orders", "last")
    browser.data_until("last")[..-2]
  end

  it "before the first publication: parent and child publish" do
    expect(publish_in(<<~RUBY)).to contain_exactly("parent", "child")
      pid = fork { Lineside.publish!("orders", "child") }
      Lineside.publish!("orders", "parent")
      Process.wait(pid)
      exit($?.success?)
    RUBY
  end

  it "after the first publication: the parent alone sends its spool" do
    expect(publish_in(<<~RUBY)).to match_array([*0...100, *100...200, *200...300])
      100.times { |number| Lineside.publish("orders", number) }
      pid = fork do
        100.times { |number| Lineside.publish("orders", 100 + number) }
        exit(Lineside.flush(timeout: 10))
      end
      100.times { |number| Lineside.publish("orders", 200 + number) }
      Process.wait(pid)
      exit($?.success? && Lineside.flush(timeout: 10))
    RUBY
  end

  it "of a child: all three processes publish, without a log line" do
    expect(publish_in(<<~RUBY)).to eq([1, 2, 3])
      Lineside.publish!("orders", 1)
      pid = fork do
        Lineside.publish!("orders", 2)
        Process.wait(fork { Lineside.publish!("orders", 3) })
        exit($?.success?)
      end
      Process.wait(pid)
      exit($?.success?)
    RUBY
  end

  it "while other threads publish and wait: no child hangs" do
    received = publish_in(<<~RUBY)
      threads = Array.new(3) { |thread| Thread.new { 300.times { Lineside.publish("orders", "parent") } } }
      threads << Thread.new { 30.times { Lineside.publish!("orders", "parent", timeout: 10) } }
      pids = Array.new(30) do
        fork do
          5.times { Lineside.publish("orders", "child") }
          exit!(Lineside.flush(timeout: 10))
        end
      end
      threads.each(&:join)
      exit(pids.map { |pid| Process.wait2(pid).last.success? }.all? && Lineside.flush(timeout: 10))
    RUBY
    expect(received.tally).to eq("parent" => 930, "child" => 150)
  end

  it "that end with exit!, Process.exit!, Kernel.exit! or exec: each child sends its publications" do
    ends = ["exit!(true)", "Process.exit!(true)", "Kernel.exit!(true)", "exec('true')",
            "Process.exec({ 'A' => '1' }, 'true', in: :close)", "Thread.new { exit!(true) }.join",
            "trap(:USR1) { exit!(true) }; Process.kill(:USR1, Process.pid); sleep"]
    received = publish_in(<<~RUBY)
      Lineside.publish("orders", "parent")
      pids = #{ends.inspect}.flat_map do |way|
        Array.new(5) { fork { Lineside.publish("orders", way); eval(way) } }
      end
      exit(pids.map { |pid| Process.wait2(pid).last.success? }.all?)
    RUBY
    expect(received.tally).to eq("parent" => 1, **ends.to_h { |way| [way, 5] })
  end

  it "that end with exit! without a sidecar: wait a second, and log what is unconfirmed" do
    sidecar.signal(:STOP)
    output = ruby(<<~RUBY, env: publisher_env)
      require "lineside"
      Process.wait(fork { Lineside.publish("orders", 1); exit! })
      Process.wait(fork { exit! })
      print BasicObject.private_instance_methods.include?(:exit!), 1.respond_to?(:exit!), 1.respond_to?(:exec)
    RUBY
    sidecar.signal(:CONT)
    expect(output).to match(/\A[^\n]*exiting with 1 unconfirmed publications[^\n]*\nfalsefalsefalse\z/)
  end

  it "do not report losses of their parent" do
    output = ruby(<<~RUBY, env: publisher_env.merge("LINESIDE_SPOOL_BYTES_MAX" => "10"))
      require "lineside"
      require "stringio"
      Lineside.config.logger = Logger.new(lines = StringIO.new)
      Lineside.publish("orders", "too large")
      Thread.pass until lines.string.include?("dropped")
      Lineside.publish("orders", "too large")
      [-> { exit }, -> { exit! }].each do |ends|
        Process.wait(fork { Lineside.config.logger = Logger.new($stderr); ends.call })
      end
    RUBY
    expect(output).to eq("")
  end

  it "close the parent's link in the child" do
    expect(publish_in(<<~RUBY)).to eq([])
      sockets = -> { Dir.children("/proc/self/fd").count { |fd| File.readlink("/proc/self/fd/\#{fd}").start_with?("socket") rescue false } }
      before = sockets.call
      Lineside.flush(timeout: 10)
      Lineside.cursor
      Thread.pass until Lineside.cursor
      raise "no socket" unless sockets.call > before
      Process.wait(fork { exit!(sockets.call == before) })
      exit($?.success?)
    RUBY
  end

  it "by Process.daemon: the daemon publishes" do
    mark = File.join(@folder, "done")
    ruby(<<~RUBY, env: publisher_env)
      require "lineside"
      Lineside.publish("orders", "before")
      Process.daemon(true)
      Lineside.publish!("orders", "daemon")
      File.write(#{mark.dump}, Process.pid.to_s)
    RUBY
    eventually("the daemon's publication") { File.exist?(mark) }
    Lineside.publish!("orders", "last")
    expect(browser.data_until("last")).to eq(%w[before daemon last])
  end
end
