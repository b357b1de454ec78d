# frozen_string_literal: true

require "json"
require_relative "stock_code"

module Lineside
  module Cable
    # `Turbo::StreamsChannel` of turbo-rails, which the sidecar decides by the signed name of a stream, if neither the
    # class nor its verifier was changed.
    class TurboStreams
      NAME = "Turbo::StreamsChannel"

      # Maximum number of keys, as in the sidecar.
      KEYS_MAX = 16

      # Value that is signed to compare verifiers.
      PROBE = "lineside"

      # @param channel [Class] the class with that name
      def initialize(channel)
        @channel = channel
        @root = defined?(::Turbo::Engine) ? ::Turbo::Engine.root.to_s : nil
      end

      # @return [String, nil] reason why the app decides; nil if the class is the one of turbo-rails
      def changed
        return "is not the one of turbo-rails" unless @root && turbos?(@channel.instance_method(:subscribed))

        method = stock.foreign_method(@channel) and return "has the method #{method} of the app"
        # The names of streams are verified by two methods of modules.
        methods = [@channel.method(:verified_stream_name), ::Turbo.method(:signed_stream_verifier)]
        found = methods.find { |it| !stock.stock?(it) } and return "has the method #{found.name} of the app"
        return "has a key that the sidecar cannot use" unless keys
      end

      # @return [Array<String>, nil] keys that sign names of streams, the current one first; nil if the verifier is not
      #   that of turbo-rails, or there is no key, or more than {KEYS_MAX}
      def keys
        verifier = ::Turbo.signed_stream_verifier
        keys = [verifier, *verifier.instance_variable_get(:@rotations)].map { |it| key(it) }
        keys if keys.all?(&:present?) && keys.size <= KEYS_MAX
      rescue ArgumentError
        nil
      end

      private

      # Code of Rails and turbo-rails.
      def stock = (@stock ||= StockCode.new([@root]))

      def turbos?(method) = method.owner == @channel && method.source_location.first.start_with?("#{@root}/")

      # Key of a verifier that signs as turbo-rails does.
      def key(verifier)
        return unless verifier.instance_of?(ActiveSupport::MessageVerifier)

        key = verifier.instance_variable_get(:@secret)
        same = ActiveSupport::MessageVerifier.new(key, digest: "SHA256", serializer: JSON)
        key.b if verifier.generate(PROBE) == same.generate(PROBE) && verifier.verified(same.generate(PROBE)) == PROBE
      end
    end
  end
end
