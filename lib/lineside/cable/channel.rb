# frozen_string_literal: true

require_relative "../cable_stream"
require_relative "runner/pubsub"

module Lineside
  module Cable
    # Private structure of Action Cable's channels that Lineside depends on. No other file touches it.
    module Channel
      # Methods that Rails calls for a stream without a block, or for each of its messages. {Channels#direct?} looks for
      # changed ones.
      STREAMING = %i[transmit worker_pool_stream_handler stream_handler default_stream_handler stream_decoder
                     stream_transmitter identity_handler].freeze

      # Instance variables of Rails' own, 6.1 to 8.2.
      VARIABLES = %i[@connection @identifier @params @defer_subscription_confirmation_counter @reject_subscription
                     @subscription_confirmation_sent @unsubscribed @_streams @active_periodic_timers].freeze

      # Prepended to `ActionCable::Channel::Base`. Channels of connections that Puma holds are not affected.
      module Streams
        # The sidecar sends the messages of a stream without a block and without a foreign coder to the browser itself.
        def stream_from(broadcasting, callback = nil, coder: nil, &block)
          return super unless pubsub.is_a?(Runner::Pubsub) && direct?(callback || block, coder)
          # From Rails 8.1 on.
          return if respond_to?(:unsubscribed?) && unsubscribed?

          name = String(broadcasting)
          streams[name] = pubsub.stream(identifier, name)
          logger.info "#{self.class.name} is streaming from #{name}"
        end

        private

        def direct?(handler, coder)
          handler.nil? && [nil, ActiveSupport::JSON].include?(coder) && Cable.channels.direct?(self.class)
        end

        # Calls the block with one message after another. In Rails' worker pool alone, they could overtake each other.
        def worker_pool_stream_handler(broadcasting, user_handler, coder: nil)
          return super unless pubsub.is_a?(Runner::Pubsub)

          handler = stream_handler(broadcasting, user_handler, coder:)
          pubsub.handler(handler)
        end
      end

      class << self
        # @param connection [ActionCable::Connection::Base]
        # @return [Array<ActionCable::Channel::Base>] its channel objects
        def all(connection) = subscriptions(connection).values

        # @param identifier [String]
        # @return [ActionCable::Channel::Base, nil] the channel object of a subscription
        def find(connection, identifier) = subscriptions(connection)[identifier]

        # @return [Array<Array(Symbol, Object)>] names and values of the app's instance variables of a channel object
        def variables(channel)
          (channel.instance_variables - VARIABLES).map { |name| [name, channel.instance_variable_get(name)] }
        end

        # Runs `unsubscribed` of a channel object, with its callbacks, and drops it.
        def unsubscribe(connection, channel)
          channel.unsubscribe_from_channel
        ensure
          forget(connection, channel.identifier)
        end

        # Drops a channel object. Rails keeps one whose `unsubscribed` raised, and would run it again.
        # @param identifier [String]
        def forget(connection, identifier) = subscriptions(connection).delete(identifier)

        # Runs `unsubscribed`, with its callbacks, for a channel object that died with another process. An error of it
        # is also logged with its likely cause: instance variables that are not kept.
        #
        # @param identifier [String]
        # @yieldparam channel [ActionCable::Channel::Base] new object, before `unsubscribed`
        # @raise [NameError] if there is no such class any more
        def end(connection, identifier, &)
          params = ActiveSupport::JSON.decode(identifier).with_indifferent_access
          channel = params[:channel].to_s.safe_constantize
          unless channel.is_a?(Class) && channel < ActionCable::Channel::Base
            raise NameError, "Subscription class not found: #{params[:channel].inspect}"
          end

          end_new(channel.new(connection, identifier, params), &)
        end

        # Ends timers and streams of a channel object without `unsubscribed`.
        def drop(channel)
          channel.send(:stop_periodic_timers)
          channel.stop_all_streams
        end

        private

        def end_new(channel)
          yield channel
          channel.unsubscribe_from_channel
        rescue StandardError
          Lineside.config.logger.warn("Lineside: `unsubscribed` of #{channel.class} failed on a new channel object, " \
                                      "because the process with the subscribed one was killed; instance variables " \
                                      "are nil that are neither records nor plain values: use params and the " \
                                      "connection's identifiers")
          raise
        end

        def subscriptions(connection) = connection.subscriptions.instance_variable_get(:@subscriptions)
      end
    end
  end
end
