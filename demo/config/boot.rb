# frozen_string_literal: true

# The demo has no bundle of its own: it runs on the gem's.
ENV["BUNDLE_GEMFILE"] ||= File.expand_path("../../Gemfile", __dir__)
require "bundler/setup"
