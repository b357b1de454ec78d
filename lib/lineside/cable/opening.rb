# frozen_string_literal: true

require "json"
require_relative "connection"
require_relative "context"
require_relative "identified_user"

module Lineside
  module Cable
    # Opens one connection: runs the app's `connect`, and hands the socket to the sidecar together with its result.
    class Opening
      # Tag of the option in the hand-off's frame (docs/protocol.md): this is a connection of Action Cable.
      TAG = 0x8002

      # @param holder [Object] owner of the WebSocket in Rails ({Connection}), after the origin was allowed
      def initialize(holder)
        @holder = holder
        @env = holder.env
      end

      # Answers the request. An error of `connect`, other than a rejection, is an error of the request.
      #
      # @yield after the sidecar took the socket
      # @return [Array] Rack response: 503 or 501 if the socket cannot be handed over
      def answer
        response = Cable.hand_off.answer(@env) { [TAG, json] }
        yield if response.first == HandOff::HIJACKED
        response
      end

      private

      # @raise [Context::Invalid] if it is too long for the frame
      def json
        json = JSON.generate(option)
        return json if json.bytesize <= HandOff::Client::OPTION_BYTES_MAX

        raise Context::Invalid, "the identifier of a connection and the names of the channel classes take " \
                                "#{json.bytesize} bytes; #{HandOff::Client::OPTION_BYTES_MAX} are possible"
      end

      def option
        # Before `connect`, so that a revocation during `connect` applies to this connection.
        issued_ms = Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond)
        return { rejected: true, identifier: "", user: nil, session: nil, issued_ms: } unless connected?

        identified = Connection.identified(connection)
        user = IdentifiedUser.new(identified)
        { rejected: false, identifier: connection.connection_identifier, user: user.id, session: user.session_id,
          issued_ms:, **decided(Cable.channels, identified) }
      end

      # Part of the option on the channels: those that the sidecar decides, and what runs the others.
      def decided(channels, identified)
        { turbo_keys: channels.turbo_keys&.map { |key| [key].pack("m0") }, empty: channels.empty,
          **in_app(channels, identified) }.compact
      end

      def in_app(channels, identified)
        return {} unless channels.app? || channels.disconnects?

        # Servers other than Puma do not say that they begin.
        Cable.run_channels
        { context: Context.generate(identified, @env), disconnects: channels.disconnects?, process: AppLink.process }
      end

      def connection = Connection.of(@holder)

      # Inside a request, the executor runs already.
      def connected? = ::Rails.application.executor.wrap { Connection.connect(@holder) }
    end
  end
end
