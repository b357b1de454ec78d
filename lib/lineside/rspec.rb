# frozen_string_literal: true

require "rspec/core"
require "rspec/expectations"
require_relative "../lineside"

module Lineside
  # Matchers for RSpec about publications, which the test environment records ({Recorder}).
  #
  #   expect { order.pay }.to have_published("orders").with(id: 7).once
  #   expect { order.pay }.to have_published_to(order.user)
  #   expect { order.save }.not_to have_published("orders")
  module Matchers
    # Matcher of the publications that a block makes on one channel. Expects exactly one, unless a count is given.
    class HavePublished < RSpec::Matchers::BuiltIn::BaseMatcher
      NUMBERS = { once: 1, twice: 2, thrice: 3 }.freeze
      WORDS = { exactly: "exactly", at_least: "at least", at_most: "at most" }.freeze

      # @param channel [String] the channel's full name
      def initialize(channel)
        super()
        @channel = channel
        @data = []
        exactly(1)
      end

      # Restricts the matcher to publications of this data.
      # @param data [Object] data as it is given to publish, or a matcher
      # @yieldparam data [Object] data of each such publication, for further expectations
      def with(*data, &block)
        @data = data
        @block = block
        self
      end

      WORDS.each_key do |relation|
        define_method(relation) do |count|
          @relation = relation
          @count = NUMBERS.fetch(count) { Integer(count) }
          self
        end
      end

      NUMBERS.each_key { |name| define_method(name) { exactly(name) } }

      def times = self

      def supports_block_expectations? = true

      def supports_value_expectations? = false

      def matches?(block)
        @all = Recorder.current.capture(&block)
        @found = @all.select { |publication| publication.channel == @channel && data?(publication) }
        @found.each { |publication| @block&.call(publication.data) }
        count?
      end

      # Without a count, no publication may match.
      def does_not_match?(block)
        at_least(1) if @relation == :exactly && @count == 1
        !matches?(block)
      end

      def failure_message = "expected to publish #{expectation}, but published #{@found.size}. #{Recorder.list(@all)}"

      def failure_message_when_negated = "expected not to publish #{expectation}. #{Recorder.list(@all)}"

      def description = "publish #{expectation}"

      private

      def data?(publication)
        return true if @data.empty?

        expected = @data.first
        return publication.data?(expected) if expected.is_a?(Proc)

        values_match?(expected, publication.data) || values_match?(expected, publication.symbolized) ||
          publication.data?(expected)
      end

      def count?
        case @relation
        when :exactly then @found.size == @count
        when :at_least then @found.size >= @count
        when :at_most then @found.size <= @count
        end
      end

      def expectation
        "#{WORDS[@relation]} #{@count} on #{@channel}#{" with #{description_of(@data.first)}" unless @data.empty?}"
      end
    end

    # @param channel [String, Object] the channel, as in {Publishing#publish}
    def have_published(channel) = HavePublished.new(ChannelName.of(channel)) # rubocop:disable Naming/PredicateName -- the name of a matcher

    # @param user [String, Integer, Object] the user, as in {Publishing#publish_to}
    def have_published_to(user) = HavePublished.new(ChannelName.of_user(user, Lineside.config)) # rubocop:disable Naming/PredicateName -- as above

    # @return [Array<Publication>] publications that the block made
    def capture_publications(&) = Recorder.current.capture(&)
  end
end

RSpec.configure do |config|
  config.include Lineside::Matchers
  config.before { Lineside.publisher.clear if Lineside.publisher.is_a?(Lineside::Recording) }
end
