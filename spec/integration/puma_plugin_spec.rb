# frozen_string_literal: true

RSpec.describe "Puma with plugin :lineside", :app, :sidecar do
  # Starts Puma in the app's folder, and waits until the sidecar listens.
  def serve_with_sidecar(workers: 0, env: {}, listening: true, **options)
    env = { "LINESIDE_BIND" => "127.0.0.1:0", **env }
    config = File.join(ROOT, "spec/dummy/config/puma_plugin.rb")
    serve(workers:, config:, env:, chdir: File.join(ROOT, "spec/dummy"), **options)
    sidecars(1) if listening
  end

  # Waits until `number` sidecars have been started in total.
  # @return [Array<Integer>] process ids of the running sidecars
  def sidecars(number)
    eventually("#{number} sidecars") { puma.output.scan("event=listening").size >= number }
    expect(puma.output.scan("event=listening").size).to eq number
    children(puma.pid).select { |pid| name(pid) == "lineside" }
  end

  def name(pid) = File.read("/proc/#{pid}/comm").strip

  def running?(pid) = File.exist?("/proc/#{pid}")

  def expect_delivery(browser, data)
    Lineside.publish!("news", data, timeout: Eventually::STALL_SECONDS_MAX)
    expect(browser.data_until(data)).to eq [data]
  end

  it "runs one sidecar, which serves browsers and stops with Puma" do
    sidecar, *others = serve_with_sidecar
    expect(others).to be_empty
    browser = browse(channels: ["news"])
    expect_delivery(browser, 1)
    stop_app
    expect { browser.receive("message") }.to raise_error(/disconnect/)
    expect(running?(sidecar)).to be false
    expect(puma.output).to match(/event=draining .*event=drained/m)
    expect(File.exist?(link)).to be false
  end

  [0, 2].each do |workers|
    { "Ctrl-C" => -> { puma.interrupt },
      "Ctrl-C twice" => -> { puma.interrupt && puma.written(/Gracefully/) && puma.interrupt },
      "SIGTERM" => -> { puma.signal(:TERM) } }.each do |name, stop|
      it "stops a sidecar with a browser at #{name} in a terminal, with #{workers} workers" do
        skip "a signal can block this Puma, also without Lineside" if workers.zero? && RUBY_VERSION >= "3.3"

        sidecar, = serve_with_sidecar(workers:, terminal: true, env: { "LINESIDE_LOG_FORMAT" => "logfmt" })
        browser = browse(channels: ["news"])
        instance_exec(&stop)
        expect { browser.receive("message") }.to raise_error(/disconnect/)
        puma.wait
        expect(running?(sidecar)).to be false
        expect(puma.output.scan(/event=drained/).size).to eq 1
      end
    end
  end

  it "boots the app for settings that the environment lacks" do
    serve_with_sidecar(env: { "LINESIDE_SECRET" => nil })
    expect(puma.output).to include("booted the app for its settings")
    token = Lineside::Native.derive("the key of the smallest app there is, long enough to derive a secret from")
    use(Lineside.config) { |config| config.secret = token }
    expect_delivery(browse(channels: ["news"]), 1)
  end

  it "keeps sidecar and browsers through phased and hot restarts" do
    before = serve_with_sidecar(workers: 2)
    browser = browse(channels: ["news"])
    restart_phased
    eventually("the phased restart") { puma.output.scan(/Worker \d .*booted.*phase: 1/).size == 2 }
    expect_delivery(browser, "phased")
    2.times do |number|
      restart_hot
      eventually("hot restart #{number}") { puma.output.scan(/Worker \d .*booted.*phase: 0/).size == 4 + (2 * number) }
      expect_delivery(browser, "hot #{number}")
    end
    expect(sidecars(1)).to eq before
    expect_delivery(browse(channels: ["news"]), "new")
  end

  it "restarts a sidecar that is killed" do
    sidecar, = serve_with_sidecar
    Process.kill(:KILL, sidecar)
    puma.written(/Lineside: the sidecar ended \(.*SIGKILL.*\); restart in 1 s/)
    expect(sidecars(2)).not_to include(sidecar)
    expect_delivery(browse(channels: ["news"]), 1)
  end

  it "doubles the restart delay, serves the app, and stops at once" do
    serve_with_sidecar(env: { "LINESIDE_BINARY" => "/bin/false" }, listening: false)
    [1, 2, 4].each { |seconds| puma.written(/the sidecar ended \(.*exit 1\); restart in #{seconds} s/) }
    expect(status).to eq "503"
    stop_app
    expect(puma.output).not_to include("is killed")
  end

  it "uses a sidecar that already runs, and starts its own afterwards" do
    start_sidecar
    serve_with_sidecar(listening: false)
    puma.written(/another sidecar.*the sidecar ended \(.*exit 1\)/m)
    expect_delivery(browse(channels: ["news"]), 1)
    sidecar.signal(:TERM)
    sidecar.wait
    sidecars(1)
    expect_delivery(browse(channels: ["news"]), 2)
  end

  it "leaves no sidecar running when Puma is killed" do
    sidecar, = serve_with_sidecar(workers: 1)
    puma.stop
    eventually("the sidecar's end") { !running?(sidecar) }
    expect(puma.output).to match(/event=draining .*parent ended.*event=drained/m)
  end

  it "replaces a sidecar of another version at a hot restart" do
    process = start_ruby(<<~'RUBY', env: publisher_env.merge("LINESIDE_BIND" => "127.0.0.1:0"))
      require "lineside/sidecar"
      listening, signalled = IO.pipe
      trap(:USR1) { signalled.puts }
      first = ENV["LINESIDE_SIDECAR"].nil?
      sidecar = Lineside::Sidecar.new { |line| puts line }
      sidecar.start
      listening.gets
      sidecar.leave_running
      if first
        ENV["LINESIDE_SIDECAR"] = ENV["LINESIDE_SIDECAR"].sub(/:.*/, ":0.0.0")
        exec(RbConfig.ruby, "-I", $LOAD_PATH.first, "-e", File.read("/proc/self/cmdline").split("\0").last)
      end
      puts "children: #{File.read("/proc/self/task/#{Process.pid}/children").split.size}"
    RUBY
    [1, 2].each do |number|
      eventually("sidecar #{number}") { process.output.scan("event=listening").size == number }
      process.signal(:USR1)
    end
    expect(process.wait).to be_success
    expect(process.output.scan(/event=(?:listening|drained)|children: 1/).sort)
      .to eq ["children: 1", "event=drained", "event=drained", "event=listening", "event=listening"]
  end
end
