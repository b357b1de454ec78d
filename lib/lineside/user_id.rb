# frozen_string_literal: true

require_relative "kind"

module Lineside
  # Ids of users, in publish_to, in tokens and in disconnect. A String or an Integer is the id itself. A record of
  # `config.user_class` has its `id`, and any other record its {Kind} and `id`, such as `admin-7`. `config.user_id`
  # replaces this rule. Two records never have the same id.
  module UserId
    module_function

    # @param user [String, Integer, #id]
    # @return [String] the id
    # @raise [ArgumentError] if the user is nil or unsaved, or if the id is blank, invalid in a channel's name, or also
    #   that of another record
    def of(user, config)
      raise ArgumentError, "there is no user: give a String, an Integer or a record, not nil" if user.nil?

      id = config.user_id ? config.user_id.call(user) : default(user, config)
      # A number of this size needs no check: it is a valid id.
      return id.to_s if id.is_a?(Integer) && id.bit_length < 64

      id = id.to_s
      raise ArgumentError, "the id of a #{user.class} is blank, so it has no channel" if blank?(id)

      problem = Native.user_id_problem(id)
      return id unless problem

      raise ArgumentError, "cannot use #{id[0, 64].inspect} as the id of a user in user:<id>: #{problem}"
    end

    def default(user, config)
      case user
      when String, Integer then user
      else record(user, config)
      end
    end

    def record(user, config)
      unless user.respond_to?(:id)
        raise ArgumentError, "a #{user.class} is no user: give a String, an Integer or a record"
      end

      id = user.id
      if id.nil? || (user.respond_to?(:new_record?) && user.new_record?)
        raise ArgumentError, "this #{user.class} is not saved yet, so it has no channel"
      end

      # The common case first, without a lookup of the class.
      kind = user.class
      kind = kind.base_class if kind.respond_to?(:base_class)
      user_class = config.user_class
      kind.name == user_class ? plain(id, user_class) : other(user, id, config)
    end

    def other(user, id, config)
      name = Kind.class_name(user) || user.class.name
      return plain(id, config.user_class) if name == Kind.base_name(config.user_class)
      return of_kind(user, name, id, config) if Kind.class_name(user)

      raise ArgumentError, "a #{user.class} is neither a config.user_class nor a record of another kind: " \
                           "set config.user_id"
    end

    def of_kind(user, class_name, id, config)
      id = "#{Kind.of(class_name)}-#{id}"
      Mistakes.check_user(user, class_name, id, config)
      id
    end

    # Refuses a key such as `admin-7`, which is the id of the record 7 of the class Admin.
    def plain(id, user_class)
      kind = id[/\A[[:alpha:]][^-]*(?=-)/] if id.is_a?(String) && ChannelName.utf8?(id)
      taken = Kind.restore(kind) if kind
      return id if taken.nil? || taken == Kind.base_name(user_class)

      raise ArgumentError, "the id #{id[0, 64].inspect} of this #{user_class} can be that of a #{taken} too: " \
                           "set config.lineside.user_id to a lambda that gives different ids"
    end

    def blank?(id) = ChannelName.utf8?(id) && id.match?(/\A[[:space:]]*\z/)

    private_class_method :default, :record, :other, :of_kind, :plain, :blank?
  end
end
