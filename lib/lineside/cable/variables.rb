# frozen_string_literal: true

require "json"
require_relative "../printable"
require_relative "channel"
require_relative "context"
require_relative "value"

module Lineside
  module Cable
    # The app's instance variables of the channel objects of a connection, as text for the process that runs
    # `unsubscribed` if the one with the objects is killed. Keeps records, by their global id, Symbols, and what JSON
    # returns as it is: Strings, numbers, booleans and nil, also in arrays and hashes.
    class Variables
      # Maximum length of the text of an object. Of a longer one, nothing is kept.
      # Source: VARIABLES_BYTES_MAX in crates/lineside-protocol/src/frame/runner.rs.
      BYTES_MAX = 1024

      # Maximum number of levels of arrays and hashes in a value.
      LEVELS_MAX = 8

      NONE = "{}"
      SCALARS = [Integer, Float, TrueClass, FalseClass, NilClass].freeze
      private_constant :NONE, :SCALARS

      # Sets the variables of a new channel object. One whose record is gone stays nil.
      #
      # @param channel [ActionCable::Channel::Base]
      # @param text [String] from {changes}
      def self.load(channel, text)
        JSON.parse(text).each do |name, (type, value)|
          channel.instance_variable_set(name, Value.load(type, value))
        rescue Context::Invalid
          next
        end
      end

      def initialize
        @sent = {}
      end

      # @param identifier [String] of the subscription
      # @param channel [ActionCable::Channel::Base, nil] its object
      # @return [Hash{Symbol => String}] `variables`, the text of the object's variables, if it has changed
      def changes(identifier, channel)
        return {}.tap { @sent.delete(identifier) } unless channel

        text = dump(channel)
        return {} if text == @sent.fetch(identifier, NONE)

        { variables: @sent[identifier] = text }
      rescue StandardError => e
        Lineside.config.logger.warn("Lineside: instance variables of #{channel.class} are not kept for the case that " \
                                    "its process is killed: #{e.class}, #{Printable.of(e.message)}")
        {}
      end

      private

      def dump(channel)
        kept = Channel.variables(channel).filter_map { |name, value| [name, Value.dump(value)] if kept?(value) }
        text = JSON.generate(kept.to_h)
        text.bytesize > BYTES_MAX ? NONE : text
      end

      def kept?(value)
        return !(value.respond_to?(:new_record?) && value.new_record?) if value.respond_to?(:to_gid_param)

        value.is_a?(Symbol) || (parts?(value) && Value.json?(value))
      end

      def parts?(value, levels = LEVELS_MAX)
        return value.bytesize <= BYTES_MAX if value.instance_of?(String)
        return SCALARS.include?(value.class) unless container?(value)

        levels.positive? && value.to_a.flatten(1).all? { |part| parts?(part, levels - 1) }
      end

      # Whether the value is an Array, or a Hash without a default, that may fit. A part takes at least two bytes.
      def container?(value)
        fits = [Array, Hash].include?(value.class) && value.size <= BYTES_MAX / 2
        fits && !(value.is_a?(Hash) && (value.default_proc || value.default))
      end
    end
  end
end
