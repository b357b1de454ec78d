# frozen_string_literal: true

require "securerandom"
require_relative "../caching"
require_relative "../execution_state"
require_relative "../rails_app"

module Lineside
  module Cable
    # Prepended to `Turbo::StreamsHelper` of turbo-rails. Adds the request's cursor and the page's key to the element
    # of `turbo_stream_from`, from which the sidecar replays what was published since.
    #
    # The sidecar keeps one position for each key, so an element that several pages share has none.
    module StreamSource
      # Key of the page in the Rack environment.
      PAGE = "lineside.page"

      # Variable that is true while a fragment for Rails' cache is rendered.
      FRAGMENT = :lineside_fragment
      private_constant :PAGE, :FRAGMENT

      # Prepended to Rails' `cache`. Its own `caching?` exists from Rails 7.0 on, and does not cover collections.
      module Fragments
        def cache(...) = StreamSource.fragment(true) { super }
      end

      # Prepended to the renderer of `render collection:, cached: true`.
      module Collections
        private

        def cache_collection_render(...) = StreamSource.fragment(@options[:cached]) { super }
      end

      def turbo_stream_from(*streamables, **attributes)
        super(*streamables, **attributes, **StreamSource.attributes_of(self))
      end

      class << self
        # Prepends the modules. `Turbo::StreamsHelper` must be loaded.
        # @return [void]
        def install
          ::Turbo::StreamsHelper.prepend(self)
          ::ActionView::Helpers::CacheHelper.prepend(Fragments)
          ::ActionView::CollectionRenderer.prepend(Collections) if defined?(::ActionView::CollectionRenderer)
        end

        # @param view [Object] view of Rails, or an object with its helpers
        # @return [Hash{Symbol => String}] attributes of the element; empty outside of a response, such as in a
        #   broadcast, in a cached fragment, and if the sidecar does not serve Action Cable
        # @api private
        def attributes_of(view)
          controller = view.controller if view.respond_to?(:controller)
          return {} unless response?(controller) && !ExecutionState.get(FRAGMENT) && RailsApp.cable?

          after = { "data-lineside-after": Lineside.request_cursor }
          return after if Caching.shared?(controller.response)

          { **after, "data-lineside-page": controller.request.env[PAGE] ||= SecureRandom.urlsafe_base64(16) }
        end

        # Runs the block, which renders a fragment.
        # @param cached [Object] whether it is kept in the cache
        # @api private
        def fragment(cached)
          before = ExecutionState.get(FRAGMENT)
          ExecutionState.set(FRAGMENT, before || cached)
          yield
        ensure
          ExecutionState.set(FRAGMENT, before)
        end

        private

        # A controller that renders outside of a request, or for a broadcast within one, runs no action.
        def response?(controller) = controller.is_a?(ActionController::Metal) && !controller.action_name.nil?
      end
    end
  end
end
