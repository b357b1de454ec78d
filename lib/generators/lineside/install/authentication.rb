# frozen_string_literal: true

module Lineside
  module Generators
    # Authentication of an app, found by its files, and the settings for it.
    class Authentication
      GENERATED = "app/controllers/concerns/authentication.rb"
      DEVISE = "config/initializers/devise.rb"
      SORCERY = "config/initializers/sorcery.rb"
      ROUTES = "config/routes.rb"

      # Line of the generated `terminate_session` that ends the session, and the one inserted before it.
      TERMINATE = /^ *Current\.session\.destroy\b.*\n/
      SIGN_OUT = "      Lineside.disconnect(Current.user, session: Current.session)\n"

      # @param root [String] the app's folder
      def initialize(root)
        @root = root
      end

      # @return [Boolean] whether one is found
      def known? = generated? || devise? || sorcery?

      # @return [Boolean] whether the generated code ends sessions in one place
      def ends? = read(GENERATED).scan(TERMINATE).one?

      # @return [String] lines of the initializer
      def user
        return <<-RUBY if generated?
  # Signed-in user of a request, evaluated in the controller. Looks for the session on every page, also where none is
  # required.
  config.lineside.user = -> { Current.user if authenticated? }
        RUBY

        <<-RUBY
  # Signed-in user of a request, evaluated in the controller. Default: Current.user, else current_user.
  #{'# ' unless known?}config.lineside.user = -> { current_#{scope} }
        RUBY
      end

      # @return [String] line of the initializer
      def token
        return "  config.lineside.token = -> { { session: Current.session } if authenticated? }" if generated?

        '  # config.lineside.token = -> { { channels: ["news"], allow: ["room:*"] } }'
      end

      # @return [String, nil] lines of the initializer that end the user's connections at sign-out
      def sign_out
        return unless devise?

        <<-RUBY

  # Ends the connections of a user who signs out.
  Warden::Manager.before_logout(scope: :#{scope}) { |user, _warden, _options| Lineside.disconnect(user) if user }
        RUBY
      end

      # @return [String] line of the initializer
      def user_class = "  #{'# ' if scope == 'user'}config.lineside.user_class = \"#{scope.camelize}\""

      private

      def generated? = read(GENERATED).match?(/\bdef authenticated\?/)

      def devise? = !read(DEVISE).empty?

      def sorcery? = !read(SORCERY).empty?

      # Devise's scope: the singular of the first `devise_for`.
      def scope = (devise? && read(ROUTES)[/^\s*devise_for[ (]+:(\w+)/, 1]&.singularize) || "user"

      def read(file) = File.join(@root, file).then { |path| File.file?(path) ? File.read(path) : "" }
    end
  end
end
