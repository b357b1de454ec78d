# frozen_string_literal: true

RSpec.describe "Exit of a process", :sidecar do
  it "sends the rest of the spool, also after SIGTERM" do
    start_sidecar
    browser = browse(channels: ["orders"])
    ruby("require \"lineside\"; 2000.times { |number| Lineside.publish(\"orders\", number) }", env: publisher_env)
    process = start_ruby(<<~RUBY, env: publisher_env)
      require "lineside"
      trap(:TERM) { exit }
      Lineside.publish!("orders", "ready")
      puts "ready"
      1000.times { |number| Lineside.publish("orders", -number) }
      puts "handed over"
      loop { IO.select(nil, nil, nil, 60) }
    RUBY
    process.written(/handed over/)
    process.signal(:TERM)
    expect(process.wait).to be_success
    Lineside.publish!("orders", "last")
    expect(browser.data_until("last")).to eq([*0...2000, "ready", *(0...1000).map(&:-@), "last"])
  end

  it "waits at most a second, and logs the unconfirmed publications" do
    output = ruby("require \"lineside\"; 3.times { Lineside.publish(\"orders\", 1) }", env: publisher_env)
    expect(output.lines.size).to eq(1)
    expect(output).to match(/exiting with 3 unconfirmed publications.*link\.sock.*bundle exec lineside/)
  end

  it "logs nothing if nothing was published" do
    expect(ruby("require \"lineside\"", env: publisher_env)).to eq("")
  end
end
