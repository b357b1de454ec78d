# frozen_string_literal: true

require_relative "check/address"
require_relative "check/project"
require_relative "check/users"

module Lineside
  # The likeliest mistakes of a set-up, as far as only the app can tell, each with what to do about it. It looks, and
  # changes nothing. `bin/rails lineside:check` has `lineside check` look at the rest.
  #
  # Every check is a method of one of its parts: a sentence on what is wrong and how to mend it, or nil.
  class Check
    # Whether a finding is a fault or a doubt, and who looks for it.
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
      [:fail, Address, :content_security_policy],
      [:warn, Address, :https]
    ].freeze

    # @param app [Rails::Application]
    def initialize(app)
      @parts = CHECKS.map { |_, part, _| part }.uniq.to_h { |part| [part, part.new(app, Lineside.config)] }
    end

    # Writes a line for each check: `ok`, `warn` or `fail`, its name, and what it has found.
    # @param output [IO]
    # @return [Boolean] whether there is no fault
    def report(output)
      faults = CHECKS.count do |level, part, check|
        finding = @parts.fetch(part).public_send(check)
        output.puts format("%-4<level>s  %<check>s%<finding>s", level: finding ? level : "ok",
                                                                check: check.to_s.tr("_", " "),
                                                                finding: finding && ": #{finding}")
        finding && level == :fail
      end
      faults.zero?
    end
  end
end
