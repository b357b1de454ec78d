# frozen_string_literal: true

module Lineside
  # Signed-in user of a request.
  module RequestUser
    # Methods of controllers that look for the user whenever they are called: of Rails' generated authentication, and of
    # Devise, Sorcery and others.
    SESSION_METHOD = :authenticated?
    USER_METHOD = :current_user

    class << self
      # @param controller [ActionController::Metal]
      # @return [Object, nil] user of the request: by `config.lineside.user` if it is set, else `Current.user`, else the
      #   controller's `current_user`; nil if nobody is signed in, or the request has destroyed `Current.session`
      def of(controller)
        rule = Lineside.config.user
        user = rule ? user_by(rule, controller) : default(controller)
        user unless signed_out?
      end

      # Whether nil means that nobody is signed in. `Current.user` alone is nil too if nobody has looked for a user, as
      # on a page that anyone may see.
      def certain?(controller)
        !Lineside.config.user.nil? || [SESSION_METHOD, USER_METHOD].any? { |name| controller.respond_to?(name, true) }
      end

      # Evaluates a rule of the app in the controller, with the controller as its argument if it takes one.
      def evaluate(controller, rule)
        rule.arity.zero? ? controller.instance_exec(&rule) : controller.instance_exec(controller, &rule)
      end

      private

      # False counts as nil, as from `signed_in? && current_user`.
      def user_by(rule, controller)
        user = evaluate(controller, rule) || nil
        return user unless user == true

        raise ConfigurationError, "config.lineside.user returned true: return the user, or nil if nobody is signed " \
                                  "in, such as -> { current_user }"
      end

      def default(controller)
        if current.respond_to?(:user)
          # Generated authentication looks for the session only in actions that require one, unless it is asked.
          controller.send(SESSION_METHOD) if controller.respond_to?(SESSION_METHOD, true)
          user = current.user
        end
        user || (controller.send(USER_METHOD) if controller.respond_to?(USER_METHOD, true))
      end

      def signed_out?
        session = current.session if current.respond_to?(:session)
        session.respond_to?(:destroyed?) && session.destroyed?
      end

      def current
        current = "Current".safe_constantize
        # In Rails 6.1, `respond_to?` of the class ignores the attributes of its instance.
        current.respond_to?(:instance) ? current.instance : current
      end
    end
  end
end
