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
        super.tap { note(publications, once, transactions) }
      end

      def note(publications, once, transactions)
        own = publications.reject { |channel, _| channel.start_with?(CableStream::PREFIX) }
        return if own.empty?

        noted = own.map { |channel, data| Publication.of(channel, Native.encode(data, 0), once) }
        return noted.each { |publication| record(publication) } if transactions.empty?

        Deferred.new(nil, transactions) { noted.each { |publication| record(publication) } }
      end
    end
  end
end
