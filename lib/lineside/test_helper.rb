# frozen_string_literal: true

require_relative "../lineside"

module Lineside
  # Assertions for Minitest about publications, which the test environment records ({Recorder}).
  #
  #   class ActiveSupport::TestCase
  #     include Lineside::TestHelper
  #   end
  #
  # With a block, an assertion counts publications of the block, otherwise those since the beginning of the test.
  module TestHelper
    # Default of the data arguments, because nil is valid data.
    ANY = Object.new.freeze
    private_constant :ANY

    def before_setup
      Recorder.current.clear
      super
    end

    # Asserts that data was published on a shared channel.
    #
    # @param channel [String, Object] the channel, as in {Publishing#publish}
    # @param data [Object] the data as it was given to publish, or anything that matches with `===`; any data by default
    # @param count [Integer, nil] exact number of publications; nil for one or more
    # @return [Array<Publication>] these publications
    def assert_published(channel, data = ANY, count: nil, &block)
      assert_published_on(ChannelName.of(channel), data, count, block)
    end

    # Asserts that data was published to a user.
    #
    # @param user [String, Integer, Object] the user, as in {Publishing#publish_to}
    # @return [Array<Publication>] as {#assert_published}
    def assert_published_to(user, data = ANY, count: nil, &block)
      assert_published_on(ChannelName.of_user(user, Lineside.config), data, count, block)
    end

    # Asserts that nothing was published on a shared channel, or on any channel if none is given.
    # @return [void]
    def assert_no_published(channel = nil, &block)
      name = channel && ChannelName.of(channel)
      found = published(block).select { |publication| name.nil? || publication.channel == name }
      assert_empty found.map(&:to_s), "expected no publication#{" on #{name}" if name}"
    end

    # @return [Array<Publication>] publications that the block made
    def capture_publications(&) = Recorder.current.capture(&)

    private

    def assert_published_on(name, data, count, block)
      all = published(block)
      found = all.select { |publication| publication.channel == name }
      found.select! { |publication| publication.data?(data) } unless data.equal?(ANY)
      with = " with #{data.inspect}" unless data.equal?(ANY)
      assert count ? found.size == count : found.any?,
             "expected #{count || 'any'} on #{name}#{with}, found #{found.size}. #{Recorder.list(all)}"
      found
    end

    def published(block) = block ? capture_publications(&block) : Recorder.current.publications
  end
end
