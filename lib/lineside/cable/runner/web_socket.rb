# frozen_string_literal: true

require_relative "frames"

module Lineside
  module Cable
    class Runner
      # Takes the place of Rails' WebSocket in a hosted connection: the sidecar has the browser's socket. Threads may
      # call it at the same time.
      class WebSocket
        # Maximum size of a text, in bytes, which is that of the sidecar.
        TEXT_BYTES_MAX = 128 * 1024

        # @param hosted [Hosted]
        def initialize(hosted)
          @hosted = hosted
          @is_alive = true
          @is_muted = false
        end

        def possible? = true

        # @return [Boolean] whether the connection has not been closed
        def alive? = @is_alive

        # @return [String] the subprotocol
        def protocol = ActionCable::INTERNAL[:protocols].first

        # Sends a text to the browser. Drops it once the connection is closed, as Rails does.
        #
        # @param text [String] JSON
        # @return [Boolean] whether it was sent
        # @raise [PayloadTooLarge]
        def transmit(text)
          return false if @is_muted

          if text.bytesize > TEXT_BYTES_MAX
            raise PayloadTooLarge, "a channel transmits #{text.bytesize} bytes, and #{TEXT_BYTES_MAX} are possible: " \
                                   "transmit what the page needs to fetch the rest"
          end
          @hosted.report(Frames::TRANSMIT, text:)
        end

        # The sidecar closes the socket after the disconnect that Rails transmits before.
        def close(*)
          @is_alive = false
        end

        # Drops what is transmitted inside the block.
        def mute
          @is_muted = true
          yield
        ensure
          @is_muted = false
        end
      end
    end
  end
end
