# frozen_string_literal: true

namespace :lineside do
  desc "Check this app's Lineside set-up for common mistakes and print a remedy for each"
  task check: :environment do
    require "lineside/check"
    require "lineside/launcher"
    sound = Lineside::Check.new(Rails.application).report($stdout)
    $stdout.flush
    Process.wait(fork { Lineside::Launcher.new(["check"]).run })
    exit 1 unless sound && Process.last_status.success?
  end

  desc "Print the Lineside settings in effect as environment variables; REVEAL=1 includes the secret"
  task env: :environment do
    require "lineside/listing"
    puts Lineside::Listing.of(Lineside.config, reveal: ENV.fetch("REVEAL", "") != "")
  end
end
