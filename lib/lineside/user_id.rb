# frozen_string_literal: true

module Lineside
  # Ids of users, in publish_to, in tokens and in disconnect. A String or an Integer is the id itself. A record of
  # `config.user_class` has its `id`, and any other record its model name and `id`, such as `admin-7`. `config.user_id`
  # replaces this rule.
  module UserId
    module_function

    # @param user [String, Integer, #id]
    # @return [String] the id
    # @raise [ArgumentError] if the user is nil or unsaved, or if the id is blank or invalid in a channel's name
    def of(user, config)
      raise ArgumentError, "there is no user: give a String, an Integer or a record, not nil" if user.nil?

      id = (config.user_id ? config.user_id.call(user) : default(user, config.user_class)).to_s
      raise ArgumentError, "the id of a #{user.class} is blank, so it has no channel" if blank?(id)

      problem = Native.user_id_problem(id)
      return id unless problem

      raise ArgumentError, "cannot use #{id[0, 64].inspect} as the id of a user in user:<id>: #{problem}"
    end

    def default(user, user_class)
      case user
      when String, Integer then user
      else record(user, user_class)
      end
    end

    def record(user, user_class)
      unless user.respond_to?(:id)
        raise ArgumentError, "a #{user.class} is no user: give a String, an Integer or a record"
      end

      id = user.id
      if id.nil? || (user.respond_to?(:new_record?) && user.new_record?)
        raise ArgumentError, "this #{user.class} is not saved yet, so it has no channel"
      end

      kind = base(user.class)
      # The common case first, without a lookup of the class.
      kind.name == user_class || kind.name == base_name(user_class) ? id : "#{singular(kind)}-#{id}"
    end

    def singular(kind)
      return kind.model_name.singular if kind.respond_to?(:model_name)

      raise ArgumentError, "a #{kind} is neither a config.user_class nor another kind of record: set config.user_id"
    end

    # Classes of one table share its ids, so the base class names the kind.
    def base(kind) = kind.respond_to?(:base_class) ? kind.base_class : kind

    def base_name(user_class)
      return user_class unless user_class.match?(/\A[A-Z]/) && Object.const_defined?(user_class)

      base(Object.const_get(user_class)).name
    end

    def blank?(id) = ChannelName.utf8?(id) && id.match?(/\A[[:space:]]*\z/)

    private_class_method :default, :record, :singular, :base, :base_name, :blank?
  end
end
