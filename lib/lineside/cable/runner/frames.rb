# frozen_string_literal: true

module Lineside
  module Cable
    class Runner
      # Kinds of the frames that a runner sends, each a JSON object (docs/protocol.md).
      module Frames
        DONE = 51
        TRANSMIT = 52
        STREAM = 53
        STOP_STREAM = 54
        LEFT = 55
      end
    end
  end
end
