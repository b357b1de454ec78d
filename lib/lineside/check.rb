# frozen_string_literal: true

require_relative "check/address"
require_relative "check/cable"
require_relative "check/project"
require_relative "check/users"
require_relative "check/web_socket"
require_relative "printable"

module Lineside
  # Checks the set-up of an app for common mistakes, without changing anything. `bin/rails lineside:check` runs these
  # checks, which need the app, and then `lineside check`.
  #
  # Each check is a method that returns nil, a sentence on the mistake and its remedy, {Found} or {Skipped}.
  class Check
    # Result of a check that was not made, with the reason.
    Skipped = Struct.new(:reason)

    # Result of a check without a mistake, with a sentence on what it found.
    Found = Struct.new(:text)

    # Level of a finding, class of the check, and its method.
    CHECKS = [
      [:warn, Project, :start],
      [:fail, Project, :started_once],
      [:fail, Project, :started_alike],
      [:warn, Project, :server],
      [:warn, Project, :tags],
      [:fail, Project, :browser_module],
      [:warn, Users, :user],
      [:warn, Users, :user_class],
      [:fail, WebSocket, :web_socket],
      [:fail, Address, :url],
      [:fail, Address, :path],
      [:fail, Address, :content_security_policy],
      [:warn, Address, :https],
      [:warn, Cable, :action_cable],
      [:fail, Cable, :action_cable_path],
      [:warn, Cable, :action_cable_url],
      [:fail, Cable, :action_cable_by_route]
    ].freeze

    # @param app [Rails::Application]
    def initialize(app)
      @parts = CHECKS.map { |_, part, _| part }.uniq.to_h { |part| [part, part.new(app, Lineside.config)] }
    end

    # Writes one line for each check: `ok`, `warn`, `fail` or `skip`, its name and its finding.
    # @param output [IO]
    # @return [Boolean] whether no check failed
    def report(output)
      levels = CHECKS.map do |level, part, check|
        level, text = finding(level, part, check)
        output.puts format("%-4<level>s  %<check>s%<text>s", level:, check: check.to_s.tr("_", " "),
                                                             text: text && ": #{Printable.of(text)}")
        level
      end
      levels.none?(:fail)
    end

    private

    def finding(level, part, check)
      case result = @parts.fetch(part).public_send(check)
      when nil then [:ok]
      when Found then [:ok, result.text]
      when Skipped then [:skip, result.reason]
      else [level, result]
      end
    rescue StandardError => e
      # A fault of the app, such as one in a middleware.
      [:skip, "#{e.class}, #{e.message.lines.first.to_s.strip}"]
    end
  end
end
