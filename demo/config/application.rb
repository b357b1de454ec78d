# frozen_string_literal: true

require_relative "boot"
require "rails"
require "active_record/railtie"
require "action_controller/railtie"
require "action_view/railtie"
require "lineside"

module Demo
  # One file instead of `rails new`'s many, so that it runs unedited on every Rails from 6.1 on.
  class Application < Rails::Application
    config.load_defaults Rails::VERSION::STRING.to_f
    config.eager_load = false
    config.consider_all_requests_local = true
    config.logger = ActiveSupport::Logger.new($stdout)
    config.log_level = :info
    # The migration is the schema: a dump would differ with each Rails.
    config.active_record.dump_schema_after_migration = false
    config.filter_parameters += [:token]
    config.session_store :cookie_store, key: "_lineside_demo"

    # Every page opens the board and the steady traffic, beside its user's own channel, and its token names the sign-in.
    config.lineside.token = -> { { channels: %w[board ticks], session: seat.sign_in_id } }
  end
end
