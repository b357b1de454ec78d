# frozen_string_literal: true

# Rails app for scripts that run in a process of their own.
module ShopApp
  # Ruby text that loads Lineside, defines the app Shop and initializes it. The controllers follow this text. The log is
  # `$log.string`.
  #
  # @param settings [String] lines of the application class, such as its routes
  # @param railties [Array<String>] parts of Rails that are loaded
  # @return [String]
  def shop_app(settings = "", railties: %w[action_controller action_view])
    <<~RUBY
      require "stringio"
      require "rails"
      #{railties.map { |railtie| "require \"#{railtie}/railtie\"" }.join("\n")}
      require "lineside"
      class Shop < Rails::Application
        config.root = "/nowhere"
        config.eager_load = false
        config.secret_key_base = "k" * 64
        config.hosts.clear
        config.logger = Logger.new($log = StringIO.new)
        #{settings}
      end
      Shop.initialize!
    RUBY
  end
end
