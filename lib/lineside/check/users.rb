# frozen_string_literal: true

module Lineside
  class Check
    # Who is signed in, as far as the app says so.
    class Users
      def initialize(_app, config)
        @config = config
      end

      def user
        return if @config.user || current? || current_user?

        "neither Current.user nor ApplicationController#current_user says who is signed in, so every page is " \
          "nobody's; set config.lineside.user"
      end

      def user_class
        return if @config.user_id || @config.user_class.safe_constantize

        "there is no class #{@config.user_class}; name that of your users in config.lineside.user_class, or their " \
          "ids are such as admin-7"
      end

      def parent_controller
        parent = @config.parent_controller
        return if parent.nil? || parent.safe_constantize

        "there is no class #{parent}; config.lineside.parent_controller names the controller by whose rules pages " \
          "get fresh tokens"
      end

      private

      def current?
        current = "Current".safe_constantize
        # Rails 6.1 does not say on the class what its instance answers to.
        current.respond_to?(:user) || (current.respond_to?(:instance) && current.instance.respond_to?(:user))
      end

      def current_user?
        controller = "ApplicationController".safe_constantize or return false
        controller.method_defined?(:current_user) || controller.private_method_defined?(:current_user)
      end
    end
  end
end
