# frozen_string_literal: true

require_relative "check/address"
require_relative "check/project"
require_relative "check/users"
require_relative "printable"

module Lineside
  # Checks the set-up of an app for common mistakes, without changing anything. `bin/rails lineside:check` runs these
  # checks, which need the app, and then `lineside check`.
  #
  # Each check is a method that returns nil, or a sentence on the mistake and its remedy.
  class Check
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
      [:fail, Users, :parent_controller],
      [:fail, Address, :url],
      [:fail, Address, :path],
      [:fail, Address, :content_security_policy],
      [:warn, Address, :https]
    ].freeze

    # @param app [Rails::Application]
    def initialize(app)
      @parts = CHECKS.map { |_, part, _| part }.uniq.to_h { |part| [part, part.new(app, Lineside.config)] }
    end

    # Writes one line for each check: `ok`, `warn` or `fail`, its name and its finding.
    # @param output [IO]
    # @return [Boolean] whether no check failed
    def report(output)
      faults = CHECKS.count do |level, part, check|
        finding = @parts.fetch(part).public_send(check)
        output.puts format("%-4<level>s  %<check>s%<finding>s", level: finding ? level : "ok",
                                                                check: check.to_s.tr("_", " "),
                                                                finding: finding && ": #{Printable.of(finding)}")
        finding && level == :fail
      end
      faults.zero?
    end
  end
end
