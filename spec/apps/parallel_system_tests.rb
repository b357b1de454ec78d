# frozen_string_literal: true

# System tests in two processes, without a browser. Each prints the epoch of its sidecar.
ENV["RAILS_ENV"] = "test"
require_relative "../dummy/config/environment"
require "rails/test_help"
require "action_dispatch/system_test_case"
require "lineside/system_test"

Rails.logger = Dummy.config.logger = Logger.new(nil)
# Each process has begun a test before one of them ends its first one.
BEGUN = Array.new(2) { IO.pipe }

class ParallelTest < ActionDispatch::SystemTestCase
  driven_by :rack_test
  Rails::VERSION::STRING < "7" ? parallelize(workers: 2) : parallelize(workers: 2, threshold: 0)

  2.times do |number|
    test "number #{number} has a sidecar of its own process" do
      visit "/page"
      BEGUN[number].last.write("begun")
      BEGUN[1 - number].first.readpartial(1)
      epoch = Lineside.publish!("board", number).cursor.split(".").first
      settle!
      puts "process #{Process.pid} of epoch #{epoch}"
      assert_equal epoch, page.find("meta[name=lineside-cursor]", visible: false)[:content].split(".").first
    end
  end
end
