# frozen_string_literal: true

module Lineside
  module Cable
    # Finds code that is not Rails' own, by the files in which methods and callbacks are defined.
    class StockCode
      # Gems that Action Cable consists of, and gems that only measure or report: their code decides nothing.
      GEMS = %w[actioncable activesupport globalid airbrake appsignal datadog ddtrace sentry-rails].freeze

      # Callbacks of Rails that are named by a method. An app can add other methods of Rails as callbacks.
      CALLBACKS = { subscribe: %i[start_periodic_timers],
                    unsubscribe: %i[stop_periodic_timers stop_all_streams] }.freeze

      # @param folders [Array<String>] folders whose code is trusted too
      def initialize(folders = [])
        gems = Gem.loaded_specs.values_at(*GEMS).compact.flat_map(&:full_require_paths)
        @folders = [File.expand_path("..", __dir__), *gems, *folders].map { |folder| "#{folder.chomp('/')}/" }
      end

      # @param owner [Class]
      # @return [String, nil] a method of the class, or of a module or class above it, that was defined elsewhere
      def foreign_method(owner)
        modules = owner.ancestors - Object.ancestors
        modules.each do |it|
          name = names(it).find { |method| !stock?(own(it, method)) }
          return name.to_s if name
        end
        nil
      end

      # @param owner [Class]
      # @param except [Array<Symbol>] methods that may be overridden
      # @return [String, nil] a stock method that was overridden elsewhere
      def overridden_method(owner, except:)
        names = (owner.ancestors - Object.ancestors).flat_map { |it| names(it) }.uniq - except
        names.find { |name| chain(owner, name).partition { |method| stock?(method) }.none?(&:empty?) }&.to_s
      end

      # @param owner [Class]
      # @param names [Array<Symbol>] methods, of which some Rails has none
      # @return [Boolean] whether one of them was overridden elsewhere
      def changed?(owner, names)
        names = names.select { |name| owner.method_defined?(name) || owner.private_method_defined?(name) }
        names.any? { |name| !chain(owner, name).all? { |method| stock?(method) } }
      end

      # @param owner [Class] class with ActiveSupport::Callbacks
      # @param kinds [Array<Symbol>]
      # @return [String, nil] kind of a callback that was added elsewhere
      def foreign_callback(owner, *kinds)
        # Up to Rails 7.0, connections have no callbacks.
        callbacks = owner.respond_to?(:__callbacks) ? owner.__callbacks.values_at(*kinds).compact.flat_map(&:to_a) : []
        callbacks.find { |callback| !stock_callback?(callback) }&.then { |it| "#{it.kind}_#{it.name}" }
      end

      # @param code [Method, UnboundMethod, Proc, nil]
      # @return [Boolean] whether it is defined in a file of a gem that is trusted
      def stock?(code)
        file, = code&.source_location
        !file.nil? && @folders.any? { |folder| file.start_with?(folder) }
      end

      private

      def names(owner) = owner.instance_methods(false) + owner.private_instance_methods(false)

      # The module's own method: of a class with a prepended module, `instance_method` gives that of the module.
      def own(owner, name) = chain(owner, name).find { |method| method.owner == owner } || owner.instance_method(name)

      # The method and those that it overrides, down to the first.
      def chain(owner, name)
        methods = [owner.instance_method(name)]
        methods << methods.last.super_method while methods.last
        methods.compact
      end

      # Up to Rails 6.1, `filter` of a callback is an id.
      def stock_callback?(callback)
        filter = callback.respond_to?(:raw_filter) ? callback.raw_filter : callback.filter
        CALLBACKS[callback.name]&.include?(filter) || (filter.is_a?(Proc) && stock?(filter))
      end
    end
  end
end
