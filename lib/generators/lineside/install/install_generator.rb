# frozen_string_literal: true

require "rails/generators"
require "lineside/import_map"
require_relative "authentication"
require_relative "hotwire"
require_relative "removal"

module Lineside
  module Generators
    # `bin/rails generate lineside:install`: adds the sidecar to Procfile.dev or config/puma.rb, an initializer, the
    # tags in the layout and the pin of the browser module; for Action Cable, Hotwire and the authentication of an app,
    # the adapter, the module lineside/turbo and a line at sign-out. Skips existing entries, so it can be run again.
    # `bin/rails destroy lineside:install` removes what it added.
    class InstallGenerator < ::Rails::Generators::Base
      include Hotwire
      include Removal

      source_root File.expand_path("templates", __dir__)

      PROCFILE = "Procfile.dev"
      PUMA = "config/puma.rb"
      LAYOUT = "app/views/layouts/application.html.erb"
      INITIALIZER = "config/initializers/lineside.rb"

      # Guides to which the output refers, in order of preference. The gem contains README.md only.
      GUIDES = %w[docs/quick-start.md README.md].map { |path| File.expand_path("../../../../#{path}", __dir__) }.freeze

      desc "Adds the sidecar, an initializer, the meta tags in the layout and the browser module to this app."

      # Lines of a layout after which the tags are inserted; the first match is used.
      ANCHORS = [/^([ \t]*)<%=\s*csp_meta_tag.*\n/, /^([ \t]*)<%=\s*csrf_meta_tags.*\n/, /^([ \t]*).*<head>[ \t\r]*\n/]
                .freeze

      # Adds the sidecar to Procfile.dev, otherwise to Puma.
      def run_sidecar
        return add(PROCFILE, /^lineside:/, "lineside: bundle exec lineside\n") if exists?(PROCFILE)
        return add_plugin if exists?(PUMA)

        todo "start the sidecar together with the app: bundle exec lineside" unless revoking?
      end

      def create_initializer
        template "initializer.rb", INITIALIZER, skip: true
      end

      def add_tags_to_layout
        return consider_other_layouts unless exists?(LAYOUT)
        return remove_tags if revoking?
        return say_status(:identical, LAYOUT, :blue) if read(LAYOUT).include?("lineside_meta_tags")

        line = ANCHORS.find { |pattern| read(LAYOUT).match?(pattern) }
        return todo("call lineside_meta_tags in the head of #{LAYOUT}") unless line

        indent = read(LAYOUT)[line, 1] + (line.source.include?("<head>") ? "  " : "")
        insert LAYOUT, "#{indent}<%= lineside_meta_tags %>\n", after: line
      end

      def pin_module
        add(ImportMap::FILE, ImportMap::PIN, "pin \"lineside\"\n") if exists?(ImportMap::FILE)
      end

      def set_adapter = exists?(Hotwire::CABLE) && change_adapters

      def import_turbo_module = import_module

      # Devise's hook is in the initializer.
      def end_connections_at_sign_out
        file = Authentication::GENERATED
        return unless exists?(file)
        return remove(file, Authentication::SIGN_OUT) if revoking?
        return say_status(:identical, file, :blue) if read(file).include?("Lineside.disconnect")
        return todo("call Lineside.disconnect(user) where the app signs users out") unless authentication.ends?

        insert_into_file file, Authentication::SIGN_OUT, before: Authentication::TERMINATE
      end

      def print_next_steps
        return print_removal if revoking?

        unless user_set?
          todo "set config.lineside.user in #{INITIALIZER}, unless Current.user or current_user is the signed-in " \
               "user, or the app has no users"
        end
        say "\nLineside is installed. Next steps:\n\n"
        todos.each { |text| say "  * #{text}" }
        say <<~TEXT

          Start the app (#{exists?('bin/dev') ? 'bin/dev' : 'bin/rails server'}) and try it:

            Lineside.publish("orders", { id: 7 })     # Ruby
            #{javascript}

          #{GUIDES.find { |path| File.file?(path) }} has a whole page.
          If nothing arrives, run bin/rails lineside:check.
        TEXT
      end

      private

      # Appends a text. When revoking, removes it, also if the user has moved it within the file.
      def add(file, present, text)
        return remove(file, text) if revoking?
        return say_status(:identical, file, :blue) if read(file).match?(present)

        append_to_file file, read(file).end_with?("\n") || read(file).empty? ? text : "\n#{text}"
      end

      # Inserts a text after the first match. Thor would insert it after each one.
      def insert(file, text, after:) = insert_into_file(file, text, after: /\A(?m:.*?)#{after}/)

      # Layouts in another template language or with other names. An API has none, except those of its mailers.
      def consider_other_layouts
        layouts = Dir.glob("app/views/layouts/*.html.*", base: destination_root).grep_v(/mailer/)
        tagged = layouts.find { |layout| read(layout).include?("lineside_meta_tags") }
        return (todo("remove lineside_meta_tags from #{tagged}") if tagged) if revoking?
        return say_status(:identical, tagged, :blue) if tagged

        todo "call lineside_meta_tags in the head of the layout"
        todo "or, if the app is an API, answer its clients with Lineside.token(user, channels: [...])" if layouts.empty?
      end

      def add_plugin
        add(PUMA, /^\s*plugin[ (]+[:"']lineside\b/, "\n# Runs the sidecar.\nplugin :lineside\n")
        return if revoking?

        todo "to keep connections open through deploys, run bundle exec lineside as a process of its own instead of " \
             "plugin :lineside in #{PUMA}, which stops and starts the sidecar with Puma"
      end

      # Settings for the app's authentication, for the template of the initializer.
      def authentication = (@authentication ||= Authentication.new(destination_root))

      def user_set? = exists?(INITIALIZER) && read(INITIALIZER).match?(/^\s*config\.lineside\.user\s*=/)

      def exists?(file) = File.file?(File.join(destination_root, file))

      def read(file) = File.read(File.join(destination_root, file))

      def todo(text) = todos << text

      def todos = (@todos ||= [])

      def javascript
        return 'import { connect } from "lineside"        // JavaScript' if exists?(ImportMap::FILE)

        '<%= lineside_meta_tags channels: ["orders"] %>  # view'
      end
    end
  end
end
