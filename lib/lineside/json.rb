# frozen_string_literal: true

require "json"
require_relative "mistakes"

module Lineside
  # JSON of values that the extension does not encode itself. The extension encodes nil, true, false, and instances of
  # exactly Hash, Array, String, Symbol, Integer and Float, and ignores an `as_json` that the app defines in one of
  # these classes. All other values come here, including instances of subclasses, and hashes with keys of several
  # classes.
  module Json
    # Data that is JSON already, which is published unchanged.
    # @!attribute text
    #   @return [String] one JSON value in UTF-8
    Encoded = Struct.new(:text)

    module_function

    # @param levels [Integer] nesting depth of the value in the data
    # @return [String] JSON of the value, by ActiveSupport if it is loaded
    # @raise [ArgumentError] if the value contains itself, text that is not UTF-8, or, with json 3, a hash with keys
    #   that are equal in JSON; or by {Mistakes}
    def generate(value, levels)
      return value.text if value.is_a?(Encoded)

      json = defined?(ActiveSupport::JSON.encode) ? ActiveSupport::JSON.encode(value) : generate_alone(value, levels)
      Mistakes.check_data(value, json)
      json
    rescue SystemStackError, JSON::NestingError
      raise ArgumentError, "a #{value.class} cannot be encoded as JSON: it holds itself, or is nested too deeply"
    rescue JSON::GeneratorError, EncodingError => e
      raise ArgumentError, "a #{value.class} cannot be encoded as JSON: #{e.message[0, 200]} " \
                           "(text must be UTF-8, and keys of a hash must differ as text)"
    end

    # @return [Array(Boolean, Boolean)] whether the app escapes `<`, `>` and `&`, and whether it escapes U+2028 and
    #   U+2029
    def escapes
      return [false, false] unless defined?(ActiveSupport::JSON::Encoding)

      encoding = ActiveSupport::JSON::Encoding
      # A setting since Rails 8.1. Earlier versions always escape them.
      separators = !encoding.respond_to?(:escape_js_separators_in_json) || encoding.escape_js_separators_in_json
      [encoding.escape_html_entities_in_json ? true : false, separators ? true : false]
    end

    # JSON without ActiveSupport: instances of subclasses like those of their superclass, then `as_json` if it is
    # defined, otherwise JSON.generate.
    def generate_alone(value, levels)
      case value
      when Hash then Native.encode({}.merge(value).transform_keys(&:to_s), levels)
      when Array then Native.encode(Array.new(value), levels)
      when String then Native.encode(String.new(value), levels)
      else value.respond_to?(:as_json) ? Native.encode(value.as_json, levels) : ::JSON.generate(value)
      end
    end

    private_class_method :generate_alone
  end
end
