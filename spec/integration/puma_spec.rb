# frozen_string_literal: true

require "net/http"

RSpec.describe "A Puma cluster with preload_app!", :sidecar do
  # Sends requests until every worker has answered, and returns the responses.
  def requests(port, workers:)
    answers = []
    eventually("an answer of each worker") do
      answers << Net::HTTP.get("127.0.0.1", "/publish/#{answers.size}", port).split
      answers.map(&:first).uniq.size == workers && answers.size >= 20
    end
    answers
  end

  it "publishes from the master and from every worker, once each" do
    start_sidecar
    browser = browse(channels: ["orders"])
    config = File.join(ROOT, "spec/dummy/config/puma.rb")
    env = publisher_env.merge("RAILS_ENV" => "development")
    puma = start([env, RbConfig.ruby, "-I", Processes::LIBRARY, "-S", "puma", "-C", config], chdir: ROOT)
    port = Integer(puma.written(%r{Listening on http://127\.0\.0\.1:(\d+)})[1])
    2.times { |worker| puma.written(/Worker #{worker}.*booted/) }

    answers = requests(port, workers: 2)
    expect(answers.map { |answer| answer[1] }).to all(eq("true"))
    # The cluster is not stopped by SIGTERM, because a busy Puma 6.6 under Ruby 3.3.8 misses one signal of eight, also
    # without Lineside. The workers end when the master is killed.
    expected = ["master", *(0...answers.size).map(&:to_s)]
    received = expected.map { browser.receive("message")["data"] }
    Lineside.publish!("orders", "last")
    received += browser.data_until("last")
    expect(received).to match_array([*expected, "last"])
  end
end
