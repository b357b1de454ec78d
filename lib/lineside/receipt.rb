# frozen_string_literal: true

module Lineside
  # Result of `publish!` and `disconnect!`: the sidecar has accepted the request.
  class Receipt
    # @return [String] cursor of the publication
    attr_reader :cursor

    def initialize(cursor, duplicate)
      @cursor = cursor
      @duplicate = duplicate
      freeze
    end

    # @return [Boolean] whether an earlier publication had the same `once:` id. Then nothing was published, and the
    #   cursor is that of the earlier one
    def duplicate? = @duplicate
  end
end
