# frozen_string_literal: true

require "json"

module Lineside
  module Cable
    # Values that a connection is identified by, or that a channel object keeps, as JSON for another process: a type and
    # its text.
    module Value
      @logged = {}

      class << self
        # Keeps records (by their global id), symbols, and whatever equals itself after JSON. Anything else becomes a
        # String, which is logged once for each class.
        #
        # @param value [Object]
        # @return [Array(String, Object)] type and text
        def dump(value)
          return ["record", value.to_gid.to_s] if value.respond_to?(:to_gid_param)
          return ["symbol", value.to_s] if value.is_a?(Symbol)
          return ["json", value] if json?(value)

          log(value)
          ["string", value.to_s.dup.force_encoding(Encoding::UTF_8).scrub]
        end

        # @return [Object] the value
        # @raise [Context::Invalid] if there is no such record any more
        def load(type, text)
          case type
          when "record" then find(text)
          when "symbol" then text.to_sym
          else text
          end
        end

        # @return [Boolean] whether the value equals itself after JSON
        def json?(value)
          JSON.parse(JSON.generate([value])) == [value]
        rescue JSON::GeneratorError, JSON::NestingError, EncodingError
          false
        end

        private

        def find(gid)
          GlobalID::Locator.locate(gid) or raise Context::Invalid, missing(gid)
        rescue StandardError => e
          raise if e.is_a?(Context::Invalid) || !missing?(e)

          raise Context::Invalid, missing(gid)
        end

        # Errors of Active Record, and of other classes that follow it.
        def missing?(error) = error.class.name.to_s.end_with?("NotFound")

        def missing(gid) = "the record #{gid}, which identifies a connection, no longer exists"

        def log(value)
          return if @logged[value.class.name]

          @logged[value.class.name] = true
          Lineside.config.logger.warn("Lineside: a connection of Action Cable is identified by a #{value.class}, " \
                                      "which becomes the String #{value.to_s[0, 64].inspect} in another process: " \
                                      "identify connections by records or Strings")
        end
      end
    end
  end
end
