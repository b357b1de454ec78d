# frozen_string_literal: true

module Lineside
  # Prepended to {Publisher} in `rails console --sandbox`, which rolls back all changes at its end. Publications are
  # checked and dropped, as by that rollback. `now: true` sends them.
  module Sandbox
    def direct? = false

    def publish(publications, once: nil, timeout: nil, now: false)
      return super if now

      if timeout
        raise InTransaction, "publish! cannot wait in a sandbox, which sends nothing: give now: true to send it"
      end

      # The same errors as outside the sandbox.
      held = Native.hold(publications, once, nil)
      Native.release(held) unless held.is_a?(String)
      explain
      true
    end

    private

    def explain
      return if @explained

      @explained = true
      @config.logger.info("Lineside: the sandbox sends no publications, except with now: true")
    end
  end
end
