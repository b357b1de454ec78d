# frozen_string_literal: true

require "action_cable"
require "active_support/message_verifier"
require "active_support/key_generator"
require "json"
require "pathname"

# Stand-in for turbo-rails, with its modules, methods and verifier.
module Turbo
  # The folder of the gem.
  module Engine
    def self.root = Pathname.new(__dir__)
  end

  class << self
    attr_writer :signed_stream_verifier_key

    def signed_stream_verifier
      @signed_stream_verifier ||=
        ActiveSupport::MessageVerifier.new(signed_stream_verifier_key, digest: "SHA256", serializer: JSON)
    end

    def signed_stream_verifier_key = @signed_stream_verifier_key || raise(ArgumentError, "there is no key")
  end

  module Streams
    # Class methods of channels.
    module StreamName
      def verified_stream_name(signed) = Turbo.signed_stream_verifier.verified(signed)

      def signed_stream_name(streamables) = Turbo.signed_stream_verifier.generate(stream_name_from(streamables))

      # Methods of channels.
      module ClassMethods
        def verified_stream_name_from_params = self.class.verified_stream_name(params[:signed_stream_name])
      end

      private

      def stream_name_from(streamables)
        return streamables.map { |streamable| stream_name_from(streamable) }.join(":") if streamables.is_a?(Array)

        streamables.try(:to_gid_param) || streamables.to_param
      end
    end
  end

  # The channel of all Turbo streams.
  class StreamsChannel < ActionCable::Channel::Base
    extend Streams::StreamName
    include Streams::StreamName::ClassMethods

    def subscribed
      name = verified_stream_name_from_params
      name ? stream_from(name) : reject
    end
  end
end
