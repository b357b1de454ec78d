# frozen_string_literal: true

require_relative "kind"

module Lineside
  # Names of channels, for publishing and for tokens. Follows the stream names of Turbo: a String is the name itself, a
  # record is named by its global id (`to_gid_param`), an array by its parts joined with `:`. A record without a global
  # id is named by its {Kind} and `to_param`, such as `order-7`, and another object by the `to_param` that it defines.
  #
  # Two lists of parts never have the same name, and neither have two records. The extension checks the name, with the
  # same rule as the sidecar.
  module ChannelName
    module_function

    # @param channel [String, Symbol, #to_gid_param, #to_param, Array]
    # @return [String] the name of a shared channel
    # @raise [ArgumentError] if the channel has no valid name, or one that begins with `user:` or `cable:`
    def of(channel)
      name = part(channel)
      problem = Native.channel_problem(name)
      return name unless problem

      raise ArgumentError, "cannot use the channel #{name[0, 64].inspect}: #{problem}#{remedy(name)}"
    end

    # @return [String] the name of a user's channel
    # @raise [ArgumentError] if the user has no valid id
    def of_user(user, config) = "user:#{UserId.of(user, config)}"

    # @return [Boolean] whether the String is valid UTF-8, or ASCII in another encoding
    def utf8?(name) = name.ascii_only? || (name.encoding == Encoding::UTF_8 && name.valid_encoding?)

    def remedy(name) = utf8?(name) && name.start_with?("user:") ? ". To publish to a user, call publish_to" : nil

    def part(object)
      case object
      when String, Symbol, Integer then present(object, object.to_s)
      when Array then present(object, join(object))
      else present(object, param(object))
      end
    end

    def join(array)
      name = array.map { |item| part(item) }.join(":")
      # The common case first: each separator stands between two parts.
      refuse_separators(leaves(array)) if name.count(":") >= array.size
      name
    end

    # Parts of an array, which may contain arrays.
    def leaves(array) = array.flat_map { |item| item.is_a?(Array) ? leaves(item) : [part(item)] }

    def refuse_separators(parts)
      ambiguous = parts.find { |part| part.include?(":") } if parts.size > 1
      return unless ambiguous

      raise ArgumentError, "the part #{ambiguous[0, 64].inspect} of a channel contains the separator \":\", so other " \
                           "parts could give the same name: give its parts one by one, or the whole name as a String"
    end

    def param(object)
      raise ArgumentError, "#{describe(object)} is not saved yet, so it names no channel" if unsaved?(object)
      return object.to_gid_param if object.respond_to?(:to_gid_param)
      return object_param(object) if named?(object)

      raise ArgumentError, "#{describe(object)} names no channel: give a String, a record or an array of them"
    end

    def object_param(object)
      param = present(object, object.to_param.to_s)
      record = Kind.class_name(object)
      record ? "#{Kind.of(record)}-#{param}" : param
    end

    # ActiveSupport defines `to_param` on every object. Only an override is a name.
    def named?(object)
      return false if [nil, true, false].include?(object) || object.is_a?(Hash)

      object.respond_to?(:to_param) && object.method(:to_param).owner != Object
    end

    def unsaved?(object) = object.respond_to?(:new_record?) && object.new_record?

    def describe(object) = object.nil? ? "nil" : "a #{object.class}"

    def present(object, name)
      return name if !utf8?(name) || name.match?(/[^[:space:]]/)

      raise ArgumentError, "#{describe(object)} gives a blank name for a channel"
    end

    private_class_method :remedy, :part, :join, :leaves, :refuse_separators, :param, :object_param, :named?, :unsaved?,
                         :present
  end
end
