# frozen_string_literal: true

require_relative "channel"
require_relative "connection"
require_relative "stock_code"
require_relative "turbo_streams"

module Lineside
  module Cable
    # The app's channel classes, divided by the place in which they run.
    #
    # In the sidecar run `Turbo::StreamsChannel` as turbo-rails has it, and *empty* classes, which add no code to
    # `ActionCable::Channel::Base`. All others run in the app. Code of the app in the way of all commands, such as
    # `before_command` of the connection, makes all of them run in the app.
    class Channels
      CALLBACKS = %i[subscribe unsubscribe].freeze

      # Methods of Rails' connections that a connection can override without effect on commands.
      ALLOWED = %i[initialize connect disconnect request cookies connection_identifier connection_gid statistics inspect
                   allow_request_origin? respond_to_invalid_request respond_to_successful_request new_tagged_logger
                   started_request_message finished_request_message invalid_request_message
                   successful_request_message].freeze

      class << self
        # Loads the classes of the app and of its engines first, because Rails may load a class only by its name.
        # @return [Channels]
        def find
          load_all
          # A class that was loaded again can have an old one of its name beside it.
          classes = ActionCable::Channel::Base.descendants.select { |it| it.name&.safe_constantize.equal?(it) }
          new(classes, ActionCable.server.config.connection_class.call)
        end

        private

        def load_all
          paths = ActiveSupport::Dependencies.autoload_once_paths | ActiveSupport::Dependencies.autoload_paths
          paths.map(&:to_s).select { |path| File.basename(path) == "channels" }.each do |folder|
            Dir["#{folder}/**/*.rb"].each { |file| load_class(file.delete_prefix("#{folder}/").delete_suffix(".rb")) }
          end
        end

        # An error in one file is that of a subscription to its channel.
        def load_class(path)
          path.camelize.safe_constantize
        rescue StandardError, ScriptError => e
          Lineside.config.logger.warn("Lineside: app/channels/#{path}.rb cannot be loaded: #{e.class}, " \
                                      "#{Printable.of(e.message)}")
        end
      end

      # @return [Array<String>] names of the empty classes
      attr_reader :empty

      # @return [Array<String>, nil] keys of the names of Turbo's streams ({TurboStreams#keys}); nil if
      #   `Turbo::StreamsChannel` does not run in the sidecar
      attr_reader :turbo_keys

      # @return [Hash{String => String}] names of the classes that run in the app, each with the reason
      attr_reader :app

      # @param classes [Array<Class>] channel classes
      # @param connection [Class] the app's class of connections
      def initialize(classes, connection)
        @stock = StockCode.new
        @connection = connection
        @app = {}
        @empty = []
        @direct = {}.compare_by_identity
        classes.sort_by(&:name).each { |it| add(it) }
      end

      # @return [Boolean] whether any class runs in the app
      def app? = @app.any?

      # @return [Boolean] whether connections have a `disconnect` of their own, which runs in the app
      def disconnects? = Connection.disconnects?(@connection)

      # @param channel [Class] that runs in the app
      # @return [Boolean] whether the sidecar may send the messages of its streams to the browser itself: no method is
      #   changed that Rails calls for each message
      def direct?(channel)
        @direct.fetch(channel) do
          @direct[channel] = !@stock.changed?(channel, Channel::STREAMING) &&
                             !@stock.changed?(@connection, Connection::STREAMING)
        end
      end

      # @return [String] the division, for people
      def summary
        turbo = [TurboStreams::NAME] if turbo_keys
        reasons = @app.map { |name, reason| "#{name} (#{reason})" }
        "in the sidecar: #{list([*turbo, *empty])}; in the app: #{list(reasons)}"
      end

      private

      def add(channel)
        turbo = TurboStreams.new(channel) if channel.name == TurboStreams::NAME
        reason = everywhere || changed(channel) || (turbo ? turbo.changed : defined_in(channel))
        return @app[channel.name] = reason if reason

        turbo ? @turbo_keys = turbo.keys : @empty << channel.name
      end

      # Reason why all classes run in the app.
      def everywhere
        return @everywhere if defined?(@everywhere)

        callback = @stock.foreign_callback(@connection, :command)
        method = @stock.overridden_method(@connection, except: ALLOWED)
        subscriptions = @stock.foreign_method(ActionCable::Connection::Subscriptions)
        @everywhere = (callback && "#{@connection.name} has the callback #{callback}") ||
                      (method && "#{@connection.name} has its own method #{method}") ||
                      (subscriptions && "the app has changed the method #{subscriptions} of all subscriptions")
      end

      # Reason that is not a method: a callback, a timer, a handler of errors, or a constructor.
      def changed(channel)
        callback = @stock.foreign_callback(channel, *CALLBACKS) and return "has the callback #{callback}"
        return "has a timer" if channel.periodic_timers.any?
        return "handles errors" if channel.rescue_handlers.any?

        "creates its own objects" unless channel.method(:new).owner == Class
      end

      def defined_in(channel)
        method = @stock.foreign_method(channel) and "defines #{method}"
      end

      def list(names) = names.empty? ? "none" : names.join(", ")
    end
  end
end
