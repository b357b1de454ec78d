# frozen_string_literal: true

module Lineside
  # What `publish!` returns: the sidecar has the publication.
  class Receipt
    # @return [String] where the publication stands in the journal
    attr_reader :cursor

    def initialize(cursor, duplicate)
      @cursor = cursor
      @duplicate = duplicate
      freeze
    end

    # @return [Boolean] whether it had landed before under its `once:`, so that nothing new was published; the cursor is
    #   then the earlier one's
    def duplicate? = @duplicate
  end
end
