# frozen_string_literal: true

# Stand-in for the parts of the gem turbo-rails that the demo uses, because Debian has no package of the gem. Names and
# arguments are those of the gem. The gem renders most broadcasts in a job, and this file renders all of them at once.
require "action_cable/engine"
require "global_id/railtie"

Mime::Type.register "text/vnd.turbo-stream.html", :turbo_stream

module Turbo
  module Engine
    def self.root = Pathname.new(__dir__)
  end

  def self.signed_stream_verifier
    @signed_stream_verifier ||= begin
      key = Rails.application.key_generator.generate_key("turbo/signed_stream_verifier_key")
      ActiveSupport::MessageVerifier.new(key, digest: "SHA256", serializer: JSON)
    end
  end

  class StreamsChannel < ActionCable::Channel::Base
    class << self
      def signed_stream_name(streamables) = Turbo.signed_stream_verifier.generate(stream_name(streamables))

      def verified_stream_name(signed) = Turbo.signed_stream_verifier.verified(signed)

      def broadcast_action_to(*streamables, action:, target: nil, **rendering)
        content = ApplicationController.render(formats: [:html], layout: false, **rendering) if rendering.any?
        template = ApplicationController.helpers.tag.template(content) if content
        html = ApplicationController.helpers.tag.turbo_stream(template, action:, target:)
        ActionCable.server.broadcast(stream_name(streamables), html)
      end

      private

      def stream_name(streamables)
        streamables.map { |streamable| streamable.try(:to_gid_param) || streamable.to_param }.join(":")
      end
    end

    def subscribed
      name = self.class.verified_stream_name(params[:signed_stream_name])
      name ? stream_from(name) : reject
    end
  end

  # Methods of models.
  module Broadcastable
    extend ActiveSupport::Concern

    class_methods do
      def broadcasts_to(stream, inserts_by: :append, target: model_name.plural)
        after_create_commit { broadcast_action_to(streamable(stream), action: inserts_by, target:) }
      end

      def broadcasts_refreshes_to(stream)
        after_commit { StreamsChannel.broadcast_action_to(streamable(stream), action: :refresh) }
      end
    end

    def broadcast_update_to(*streamables, target:) = broadcast_action_to(*streamables, action: :update, target:)

    def broadcast_action_to(*streamables, action:, target:)
      rendering = { partial: to_partial_path, locals: { model_name.element.to_sym => self } }
      StreamsChannel.broadcast_action_to(*streamables, action:, target:, **rendering)
    end

    private

    def streamable(stream) = stream.respond_to?(:call) ? stream.call(self) : public_send(stream)
  end

  module StreamsHelper
    def turbo_stream_from(*streamables, **attributes)
      tag.turbo_cable_stream_source(channel: "Turbo::StreamsChannel",
                                    "signed-stream-name": StreamsChannel.signed_stream_name(streamables), **attributes)
    end
  end
end

ActiveSupport.on_load(:action_controller_base) { helper Turbo::StreamsHelper }
ActiveSupport.on_load(:active_record) { include Turbo::Broadcastable }
