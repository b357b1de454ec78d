# frozen_string_literal: true

# The demo uses the Gemfile of the gem.
ENV["BUNDLE_GEMFILE"] ||= File.expand_path("../../Gemfile", __dir__)
require "bundler/setup"
