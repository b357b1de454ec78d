# frozen_string_literal: true

module Lineside
  class Check
    # Checks of the settings that identify the signed-in user.
    class Users
      def initialize(_app, config)
        @config = config
      end

      def user
        return if @config.user || current? || current_user?

        "neither Current.user nor ApplicationController#current_user exists, so every page is anonymous; set " \
          "config.lineside.user"
      end

      def user_class
        return Skipped.new("config.lineside.user_id takes its place") if @config.user_id
        return if @config.user_class.safe_constantize

        "there is no class #{@config.user_class}; set config.lineside.user_class to the class of your users, " \
          "otherwise their ids have a prefix, such as admin-7"
      end

      private

      def current?
        current = "Current".safe_constantize
        # In Rails 6.1, `respond_to?` of the class ignores the attributes of its instance.
        current.respond_to?(:user) || (current.respond_to?(:instance) && current.instance.respond_to?(:user))
      end

      def current_user?
        controller = "ApplicationController".safe_constantize or return false
        controller.method_defined?(:current_user) || controller.private_method_defined?(:current_user)
      end
    end
  end
end
