# frozen_string_literal: true

require_relative "boot"
require "rails"
require "active_record/railtie"
require "action_controller/railtie"
require "action_view/railtie"
require "lineside"
require_relative "../lib/turbo_rails"

module Demo
  # One file instead of the many of `rails new`, so that the demo runs unchanged on Rails 6.1 and later.
  class Application < Rails::Application
    config.load_defaults Rails::VERSION::STRING.to_f
    config.eager_load = false
    config.consider_all_requests_local = true
    config.logger = ActiveSupport::Logger.new($stdout)
    config.log_level = :info
    # Migrations alone define the schema, because a dump differs between Rails versions.
    config.active_record.dump_schema_after_migration = false
    config.filter_parameters += [:token]
    config.session_store :cookie_store, key: "_lineside_demo"

    # Channels of every page beside its user's own, and the sign-in to which its token belongs.
    config.lineside.token = -> { { channels: %w[board ticks], session: seat.sign_in_id } }
  end
end
