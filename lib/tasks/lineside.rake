# frozen_string_literal: true

namespace :lineside do
  desc "Look for the likeliest mistakes of this app's set-up, and say what to do about each"
  task check: :environment do
    require "lineside/check"
    require "lineside/launcher"
    sound = Lineside::Check.new(Rails.application).report($stdout)
    $stdout.flush
    Process.wait(fork { Lineside::Launcher.new(["check"]).run })
    exit 1 unless sound && Process.last_status.success?
  end

  desc "Print the settings in effect as variables of the environment; REVEAL=1 shows the secret too"
  task env: :environment do
    require "lineside/listing"
    puts Lineside::Listing.of(Lineside.config, reveal: ENV.fetch("REVEAL", "") != "")
  end
end
