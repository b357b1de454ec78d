# frozen_string_literal: true

module Lineside
  # The one rule for a user's id, in publish_to and in tokens: a String or an Integer as it is; a record of
  # `config.user_class` by its id; any other record by its kind and its id, such as `admin-7`. `config.user_id` replaces
  # all of it.
  module UserId
    module_function

    # @param user [String, Integer, #id]
    # @return [String] the id
    # @raise [ArgumentError] for nil, for what is blank or unsaved, and for an id that cannot stand in a name
    def of(user, config)
      raise ArgumentError, "there is no user: nil has no channel of its own" if user.nil?

      id = (config.user_id ? config.user_id.call(user) : default(user, config.user_class)).to_s
      raise ArgumentError, "the id of a #{user.class} is blank, so it has no channel of its own" if blank?(id)

      ChannelName.check("user:#{id}")
      id
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
        raise ArgumentError, "this #{user.class} is not saved yet, so it has no channel of its own"
      end

      kind = base(user.class)
      # The usual case first: it needs no look-up of the class.
      kind.name == user_class || kind.name == base_name(user_class) ? id : "#{singular(kind)}-#{id}"
    end

    def singular(kind)
      return kind.model_name.singular if kind.respond_to?(:model_name)

      raise ArgumentError, "a #{kind} is neither config.user_class nor a kind of record: set config.user_id"
    end

    # Records of one table share their ids, whatever their class.
    def base(kind) = kind.respond_to?(:base_class) ? kind.base_class : kind

    def base_name(user_class)
      return user_class unless user_class.match?(/\A[A-Z]/) && Object.const_defined?(user_class)

      base(Object.const_get(user_class)).name
    end

    def blank?(id) = ChannelName.utf8?(id) && id.match?(/\A[[:space:]]*\z/)

    private_class_method :default, :record, :singular, :base, :base_name, :blank?
  end
end
