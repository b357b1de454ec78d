# frozen_string_literal: true

require "securerandom"

module Lineside
  # Cursor in the ETag of pages. Otherwise the response to a reload can be "not modified", and the page keeps a cursor
  # that the history no longer holds.
  module Freshness
    extend ActiveSupport::Concern

    included { etag { Freshness.validator(request) } }

    # @return [String, nil] part of the ETag; nil if the response is no page
    def self.validator(request)
      return unless request.format&.html? || request.format == "*/*"

      cursor = Lineside.request_cursor
      # A page without a cursor is rendered anew each time.
      cursor == RequestCursor::UNKNOWN ? SecureRandom.uuid : cursor
    end

    # Adds an ETag to a page that has a date alone.
    def fresh_when(object = nil, **options)
      dated = options.values_at(:etag, :weak_etag, :strong_etag, :template).none? && options[:last_modified]
      dated && object.nil? ? super(object, **options, etag: dated) : super
    end
  end
end
