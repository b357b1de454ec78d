# frozen_string_literal: true

require "rails/generators"

module Lineside
  module Generators
    # `bin/rails generate lineside:install`: who runs the sidecar, the settings' file, the tags in the layout, and the
    # pin of the browser module. What is there already stays as it is, so that it can be run again.
    class InstallGenerator < ::Rails::Generators::Base
      source_root File.expand_path("templates", __dir__)

      PROCFILE = "Procfile.dev"
      PUMA = "config/puma.rb"
      LAYOUT = "app/views/layouts/application.html.erb"
      IMPORTMAP = "config/importmap.rb"

      # Lines of a layout that the tags may follow, the best place first.
      ANCHORS = [/^(\s*)<%=\s*csp_meta_tag.*\n/, /^(\s*)<%=\s*csrf_meta_tags.*\n/, /^(\s*).*<head>.*\n/].freeze

      # Where the app's processes are listed, one more; else Puma starts it.
      def run_sidecar
        return add(PROCFILE, /^lineside:/, "lineside: bundle exec lineside\n") if there?(PROCFILE)
        return add(PUMA, /^\s*plugin :lineside/, "\n# Runs the sidecar.\nplugin :lineside\n") if there?(PUMA)

        todo "start the sidecar beside the app: bundle exec lineside"
      end

      def create_initializer
        copy_file "initializer.rb", "config/initializers/lineside.rb", skip: true
      end

      def add_tags_to_layout
        return todo("call lineside_meta_tags in the head of the layout") unless there?(LAYOUT)
        return say_status(:identical, LAYOUT, :blue) if read(LAYOUT).include?("lineside_meta_tags")

        line = ANCHORS.find { |pattern| read(LAYOUT).match?(pattern) }
        return todo("call lineside_meta_tags in the head of #{LAYOUT}") unless line

        indent = read(LAYOUT)[line, 1] + (line.source.include?("<head>") ? "  " : "")
        insert_into_file LAYOUT, "#{indent}<%= lineside_meta_tags %>\n", after: line
      end

      def pin_module
        add(IMPORTMAP, /^\s*pin "lineside"/, "pin \"lineside\"\n") if there?(IMPORTMAP)
      end

      def say_what_is_next
        todo "say who is signed in, in config/initializers/lineside.rb, unless Current.user or current_user does"
        say "\nLineside is installed. What is left to do:\n\n"
        todos.each { |text| say "  * #{text}" }
        say <<~TEXT

          Start the app as ever (#{there?('bin/dev') ? 'bin/dev' : 'bin/rails server'}), and try it:

            Lineside.publish("orders", { id: 7 })     # Ruby
            #{javascript}

          bin/rails lineside:check says what is missing, if something is.
        TEXT
      end

      private

      def add(file, present, text)
        return say_status(:identical, file, :blue) if read(file).match?(present)

        append_to_file file, read(file).end_with?("\n") || read(file).empty? ? text : "\n#{text}"
      end

      def there?(file) = File.file?(File.join(destination_root, file))

      def read(file) = File.read(File.join(destination_root, file))

      def todo(text) = todos << text

      def todos = (@todos ||= [])

      def javascript
        return 'import { connect } from "lineside"        // JavaScript; README.md has the rest' if there?(IMPORTMAP)

        "<%= lineside_meta_tags channels: [\"orders\"] %>  and the script of the README's \"Receive\""
      end
    end
  end
end
