# frozen_string_literal: true

require "active_support"

RSpec.describe "Fibers", :sidecar do
  before { start_sidecar }

  it "go on while one of them waits for the sidecar" do
    Lineside.publish!("orders", "linked")
    sidecar.signal(:STOP)
    [-> { Lineside.publish!("orders", 1, timeout: 20) }, -> { Lineside.flush(timeout: 20) },
     -> { Lineside.disconnect!(7, timeout: 20) }].each do |wait|
      order = []
      other = lambda do
        order << :other
        sidecar.signal(:CONT)
      end
      Reactor.run(-> { order << wait.call }, other)
      expect(order).to match([:other, be_truthy])
      sidecar.signal(:STOP)
    end
    sidecar.signal(:CONT)
  end

  it "raise the errors of a wait" do
    sidecar.signal(:STOP)
    wait = lambda do
      Lineside.publish!("orders", 1, timeout: 0.05)
    rescue Lineside::Unconfirmed => e
      e.message
    end
    expect(Reactor.run(wait)).to match([/once:/])
    sidecar.signal(:CONT)
  end

  # Rails isolates fibers since 7.0, and their connections too.
  if Gem::Version.new(ActiveSupport.version) >= Gem::Version.new("7.0")
    it "have transactions of their own if the app isolates fibers" do
      browser = browse(channels: ["orders"])
      expect(ruby(<<~RUBY, env: publisher_env)).to eq("[true, true, true]")
        require "active_record"
        require "lineside"
        ActiveSupport::IsolatedExecutionState.isolation_level = :fiber
        ActiveRecord::Base.establish_connection(adapter: "sqlite3", database: ":memory:")
        answers = []
        one = Fiber.new do
          ActiveRecord::Base.transaction do
            ActiveRecord::Base.connection.execute("SELECT 1")
            answers << Lineside.publish("orders", "of a transaction")
            Fiber.yield
          end
        end
        one.resume
        Fiber.new { answers << Lineside.publish("orders", "of another fiber") }.resume
        one.resume
        print [*answers, Lineside.flush(timeout: 20)].inspect
      RUBY
      Lineside.publish!("orders", "last")
      expect(browser.data_until("last")).to eq(["of another fiber", "of a transaction", "last"])
    end
  end
end
