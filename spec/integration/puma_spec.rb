# frozen_string_literal: true

require "net/http"

RSpec.describe "A Puma cluster with preload_app!", :sidecar do
  # Requests until every worker has answered; returns what they answered.
  def requests(port, workers:)
    answers = []
    eventually("an answer of each worker") do
      answers << Net::HTTP.get("127.0.0.1", "/publish/#{answers.size}", port).split
      answers.map(&:first).uniq.size == workers && answers.size >= 20
    end
    answers
  end

  it "publishes from the master and from every worker, once each, until it is stopped" do
    start_sidecar
    browser = browse(channels: ["orders"])
    config = File.join(ROOT, "spec/dummy/config/puma.rb")
    env = publisher_env.merge("RAILS_ENV" => "test")
    puma = start([env, RbConfig.ruby, "-I", Processes::LIBRARY, "-S", "puma", "-C", config], chdir: ROOT)
    port = Integer(puma.written(%r{Listening on http://127\.0\.0\.1:(\d+)})[1])
    2.times { |worker| puma.written(/Worker #{worker}.*booted/) }

    answers = requests(port, workers: 2)
    expect(answers.map { |answer| answer[1] }).to all(eq("true"))
    puma.signal(:TERM)
    puma.wait
    Lineside.publish!("orders", "last")
    received = browser.data_until("last")[..-2]
    expect(received.tally).to eq(["master", *(0...answers.size).map(&:to_s)].to_h { |data| [data, 1] })
  end
end
