# frozen_string_literal: true

# System examples of the dummy app by RSpec, without a browser.
ENV["RAILS_ENV"] = "test"
require_relative "../dummy/config/environment"
require "capybara/rspec"
require "lineside/rspec"
require "lineside/system_test"

Rails.logger = Dummy.config.logger = Logger.new(nil)
Capybara.app = Rails.application

RSpec.describe "A page" do
  it "is settled, and publications are recorded too", type: :system do
    expect { Lineside.publish("board", 1) }.to have_published("board").with(1)
    settle!
    expect(Lineside.publish!("board", 2).cursor).not_to start_with "recorded"
  end

  it "is settled in a feature", type: :feature do
    visit "/page"
    settle!
    expect(page.find("meta[name=lineside-cursor]", visible: false)[:content]).not_to eq "unknown"
  end

  it "has no sidecar elsewhere" do
    expect { Lineside.publish("board", 1) }.to have_published("board")
    expect(Lineside.cursor).to be_nil
    expect { Lineside::SystemTest.settle(1) }.to raise_error(Lineside::Error, /in system tests only/)
  end
end
