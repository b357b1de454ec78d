# frozen_string_literal: true

module Lineside
  # Names channels, for publishing and for tokens alike, as Turbo names streams: a String as it is, a record by its
  # global id (`to_gid_param`, else `to_param`), an array by its parts joined with `:`.
  module ChannelName
    # Longest name, in bytes.
    BYTES_MAX = 255

    # What opens only through a token's user and through Action Cable.
    RESERVED = %w[user: cable:].freeze

    # Control characters (Unicode category Cc), and the sign that grants use.
    UNUSABLE = /[[:cntrl:]*]/
    private_constant :UNUSABLE

    module_function

    # @param channel [String, Symbol, #to_gid_param, #to_param, Array]
    # @return [String] the name of a shared channel
    # @raise [ArgumentError] if it names none, or one under a reserved prefix
    def of(channel)
      name = check(part(channel))
      return name unless name.start_with?(*RESERVED)

      raise ArgumentError, "the channel #{name.inspect} lies under a reserved prefix: " \
                           "publish_to reaches a user, and cable: belongs to Action Cable"
    end

    # @return [String] the name of a user's channel
    # @raise [ArgumentError] if the user has no id
    def of_user(user, config) = "user:#{UserId.of(user, config)}"

    # @return [String] the name itself
    # @raise [ArgumentError] if it breaks a rule of names
    def check(name)
      return name if utf8?(name) && name.bytesize.between?(1, BYTES_MAX) && !name.match?(UNUSABLE)

      raise ArgumentError, "the channel #{name[0, 64].inspect} cannot be used: #{problem_of(name)}"
    end

    def problem_of(name)
      return "it is #{name.encoding}, not valid UTF-8" unless utf8?(name)
      return "it has #{name.bytesize} bytes, 1 to #{BYTES_MAX} are possible" unless name.bytesize.between?(1, BYTES_MAX)

      name.include?("*") ? "it holds *, which stands for any name in grants" : "it holds a control character"
    end

    def utf8?(name) = name.ascii_only? || (name.encoding == Encoding::UTF_8 && name.valid_encoding?)

    def part(object)
      case object
      when String, Symbol, Integer then blank(object, object.to_s)
      when Array then blank(object, object.map { |item| part(item) }.join(":"))
      else blank(object, param(object))
      end
    end

    def param(object)
      raise ArgumentError, "#{describe(object)} is not saved yet, so it names no channel" if unsaved?(object)
      return object.to_gid_param if object.respond_to?(:to_gid_param)
      return object.to_param.to_s if named?(object)

      raise ArgumentError, "#{describe(object)} names no channel: give a String, a record or an array of them"
    end

    # ActiveSupport gives every object a `to_param`, which says nothing.
    def named?(object)
      return false if [nil, true, false].include?(object) || object.is_a?(Hash)

      object.respond_to?(:to_param) && object.method(:to_param).owner != Object
    end

    def unsaved?(object) = object.respond_to?(:new_record?) && object.new_record?

    def describe(object) = object.nil? ? "nil" : "a #{object.class}"

    def blank(object, name)
      return name if !utf8?(name) || name.match?(/[^[:space:]]/)

      raise ArgumentError, "#{describe(object)} gives a blank name for a channel"
    end

    private_class_method :problem_of, :part, :param, :named?, :unsaved?, :blank
  end
end
