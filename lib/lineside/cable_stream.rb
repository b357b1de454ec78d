# frozen_string_literal: true

require_relative "printable"

module Lineside
  # Streams of Action Cable. The stream `chat` is the channel `cable:chat`.
  module CableStream
    # Prefix of their channels.
    PREFIX = "cable:"

    # Maximum number of characters of a name or payload in an error message.
    SHOWN_CHARACTERS_MAX = 64

    module_function

    # @param name [String, Symbol] name of a stream: 1 to 1,024 bytes of UTF-8 without control characters
    # @return [String] the channel's full name
    # @raise [ArgumentError] for any other name
    def channel(name)
      name = name.to_s
      problem = Native.cable_stream_problem(name)
      return "#{PREFIX}#{name}" unless problem

      raise ArgumentError, "cannot use the Action Cable stream #{shown(name)}: #{problem}"
    end

    # @param name [String] name of the stream, for the message
    # @param payload [String] the message of a broadcast, encoded by Action Cable
    # @raise [ArgumentError] if it is not JSON
    # @raise [PayloadTooLarge] if it has more bytes than `payload_bytes_max`
    def check_payload(name, payload, config)
      if payload.bytesize > config.payload_bytes_max
        raise PayloadTooLarge, "cannot broadcast on #{shown(name)}: the message has #{payload.bytesize} bytes, more " \
                               "than the #{config.payload_bytes_max} of payload_bytes_max: broadcast what the page " \
                               "needs to fetch the rest"
      end
      problem = Native.json_problem(payload)
      return unless problem

      raise ArgumentError, "cannot broadcast #{shown(payload)} on #{shown(name)}: it is not JSON (#{problem}). " \
                           "Leave out coder: nil, so that Action Cable encodes it"
    end

    def shown(text)
      text = text.to_s
      "\"#{Printable.of(text[0, SHOWN_CHARACTERS_MAX])}#{'…' if text.length > SHOWN_CHARACTERS_MAX}\""
    end

    private_class_method :shown
  end
end
