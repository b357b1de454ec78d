# frozen_string_literal: true

module Lineside
  module SystemTest
    # Publisher of system tests: sends publications, and records them for the assertions. Broadcasts of Action Cable are
    # not recorded, as in other tests.
    class Publisher < Lineside::Publisher
      include Recording

      def initialize(config)
        super
        begin_recording
      end

      private

      def hand_over(publications, once, timeout, transactions, event = nil)
        # Encoded once, because `as_json` of the app can answer differently the next time.
        encoded = publications.map { |channel, data| [channel, Json::Encoded.new(Native.encode(data, 0))] }
        super(encoded, once, timeout, transactions, event).tap do |accepted|
          note(encoded, once, transactions) if accepted
        end
      end

      def note(publications, once, transactions)
        own = publications.reject { |channel, _| channel.start_with?(CableStream::PREFIX) }
        return if own.empty?

        noted = own.map { |channel, data| Publication.of(channel, data.text, once) }
        return noted.each { |publication| record(publication) } if transactions.empty?

        Deferred.new(nil, transactions) { noted.each { |publication| record(publication) } }
      end
    end
  end
end
