# frozen_string_literal: true

require "json"

module Lineside
  # What the extension asks Ruby for while it writes JSON. It writes plain values by itself: nil, true, false, and
  # instances of exactly Hash, Array, String, Symbol, Integer and Float. An app that gives one of these classes an
  # `as_json` of its own is not heard there. Everything else comes here, subclasses and hashes with keys of several
  # kinds included.
  module Json
    module_function

    # @param levels [Integer] how deep the value lies in other data
    # @return [String] the JSON of a value that is not plain: ActiveSupport's where it is loaded
    # @raise [ArgumentError] if it holds itself, or text that is not UTF-8
    def generate(value, levels)
      defined?(ActiveSupport::JSON.encode) ? ActiveSupport::JSON.encode(value) : generate_alone(value, levels)
    rescue SystemStackError
      raise ArgumentError, "a #{value.class} cannot become JSON: it holds itself, or nests too deep"
    rescue JSON::GeneratorError, EncodingError => e
      raise ArgumentError, "a #{value.class} cannot become JSON, its text may not be UTF-8: #{e.message}"
    end

    # @return [Array(Boolean, Boolean)] whether `<`, `>` and `&`, and whether U+2028 and U+2029 are escaped in the
    #   running app
    def escapes
      return [false, false] unless defined?(ActiveSupport::JSON::Encoding)

      encoding = ActiveSupport::JSON::Encoding
      # A setting since Rails 8.1; before that it is always done.
      separators = !encoding.respond_to?(:escape_js_separators_in_json) || encoding.escape_js_separators_in_json
      [encoding.escape_html_entities_in_json ? true : false, separators ? true : false]
    end

    # Without ActiveSupport: a subclass as what it extends, `as_json` where there is one, and what JSON.generate makes
    # of anything else.
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
