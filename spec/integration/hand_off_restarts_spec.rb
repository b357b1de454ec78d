# frozen_string_literal: true

RSpec.describe "Browser connections after the hand-off", :app, :sidecar do
  before { start_sidecar }

  # Checks that browsers receive everything while the app restarts.
  # @yield restarts the app, and returns a Proc that is true after the restart
  def expect_browsers_to_stay
    before = Array.new(6) { browse(channels: ["news"]) }
    number = publish_until(yield)
    before.each { |browser| expect(browser.data_until(number)).to eq [*1..number] }
    # Connects last, because a browser that connects earlier can receive publications that are still in transit.
    after = browse(channels: ["news"])
    expect_app_unharmed
    Lineside.publish!("news", "last")
    [*before, after].each { |browser| expect(browser.data_until("last")).to eq ["last"] }
  end

  # Publishes numbers from 1 until the app is up again.
  # @return [Integer] the last number
  def publish_until(up_again)
    number = 0
    eventually("the app's return") { Lineside.publish("news", number += 1) && up_again.call }
    number
  end

  # @return [Proc] whether the app's output has `more` additional matches
  def written_again(pattern, more)
    expected = puma.output.scan(pattern).size + more
    -> { puma.output.scan(pattern).size >= expected }
  end

  it "stay open when a worker is killed" do
    serve(workers: 2)
    expect_browsers_to_stay do
      written_again(/Worker \d .*booted/, 1).tap { Process.kill(:KILL, children(puma.pid).first) }
    end
  end

  it "stay open when Puma is killed and started again" do
    serve
    expect_browsers_to_stay do
      puma.stop
      serve && -> { true }
    end
  end

  it "stay open through a phased restart" do
    serve(workers: 2, config: File.join(ROOT, "spec/dummy/config/puma_phased.rb"))
    expect_browsers_to_stay do
      written_again(/Worker \d .*booted.*phase: 1/, 2).tap { restart_phased }
    end
  end

  it "stay open through a hot restart, of a cluster and of a single process" do
    [2, 0].each do |workers|
      serve(workers:)
      expect_browsers_to_stay { written_again(/Inherited tcp:/, 1).tap { restart_hot } }
      puma.stop
    end
  end

  it "stay open through a restart of rails server" do
    serve_by([RbConfig.ruby, "-I", Processes::LIBRARY, File.join(ROOT, "spec/dummy/bin/rails"), "server", "-p", "0",
              "-b", "127.0.0.1", "-P", "#{@folder}/server.pid"])
    expect_browsers_to_stay { written_again(/Inherited tcp:/, 1).tap { puma.signal(:USR2) } }
  end
end
