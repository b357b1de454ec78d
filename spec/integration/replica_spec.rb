# frozen_string_literal: true

require "active_record"
require "lineside/request_cursor"

RSpec.describe "A request that reads from a replica", :sidecar do
  before do
    start_sidecar
    ActiveRecord::Base.singleton_class.prepend(Lineside::RequestCursor::Roles)
    use(Lineside.config) { |config| config.replica_lag = 1.5 }
    Lineside.publisher.connect
    eventually("a cursor") { Lineside.cursor }
  end

  # Cursor of a request that runs the block.
  def cursor_of_request
    Lineside.sample_request_cursor
    yield
    Lineside.request_cursor
  ensure
    Lineside.forget_request_cursor
  end

  def rails7? = ActiveRecord.version >= Gem::Version.new("7.0")

  def replica = ActiveRecord::Base.connected_to(role: :reading) { nil }

  it "has a cursor from before the lag, so that it receives what the replica may not show yet" do
    expect(cursor_of_request { replica }).to eq("unknown")
    old = Lineside.publish!("orders", "old").cursor
    eventually("a cursor from before the lag") { cursor_of_request { replica } == old }
    new = Lineside.publish!("orders", "new").cursor
    cursor = cursor_of_request { replica }
    expect([cursor, cursor_of_request { nil }]).to eq([old, new])
    browser = browse(channels: ["orders"], after: cursor)
    Lineside.publish!("orders", "last")
    expect(browser.data_until("last")).to eq(%w[new last])
    expect(browser.welcome["recovered"]).to be(true)
  end

  it "is recognized by each way to switch roles, and by a call" do
    fresh = Lineside.publish!("orders", 1).cursor
    ways = [-> { ActiveRecord::Base.connected_to(role: :analytics) { nil } }, -> { Lineside.request_reads_replica }]
    # Rails 6.1 has it only without legacy connection handling.
    database = Class.new(ActiveRecord::Base) { self.abstract_class = true }
    ways << -> { ActiveRecord::Base.connected_to_many(database, role: :reading) { nil } } if rails7?
    ways.each { |way| expect(cursor_of_request(&way)).not_to eq(fresh) }
    expect(cursor_of_request { ActiveRecord::Base.connected_to(role: :writing) { nil } }).to eq(fresh)
    use(Lineside.config) { |config| config.replica_lag = nil }
    eventually("a cursor") { Lineside.cursor == fresh }
    expect(cursor_of_request { replica }).to eq(fresh)
  end
end
