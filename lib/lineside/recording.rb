# frozen_string_literal: true

require_relative "publication"

module Lineside
  # List of the publications of a test, for the assertions. Included in a {Publisher}.
  module Recording
    # Maximum number of recorded publications. The oldest are dropped.
    PUBLICATIONS_MAX = 10_000

    # @return [Array<Publication>] recorded publications in their order
    attr_reader :publications

    # @return [Boolean] false, because each publication is recorded
    def direct? = false

    # Forgets the recorded publications.
    # @return [void]
    def clear = @publications.clear

    # @return [Array<Publication>] publications recorded while the block runs
    def capture
      captured = []
      @captures[captured] = true
      yield
      captured
    ensure
      @captures.delete(captured)
    end

    private

    def begin_recording
      @publications = []
      @captures = {}.compare_by_identity
    end

    # @return [Boolean] false for a duplicate by `once:`, which is not recorded
    def record(publication)
      return false if duplicate?(publication)

      @publications.shift if @publications.size >= PUBLICATIONS_MAX
      [@publications, *@captures.keys].each { |list| list << publication }
      true
    end

    def duplicate?(publication)
      publication.once && @publications.any? do |earlier|
        [earlier.channel, earlier.once] == [publication.channel, publication.once]
      end
    end
  end
end
