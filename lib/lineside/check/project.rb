# frozen_string_literal: true

require_relative "../import_map"

module Lineside
  class Check
    # Checks of the app's files and gems.
    class Project
      # Files that can start a sidecar, each with the pattern of the line that does.
      STARTS = {
        "Procfile" => /^\w+:.*\blineside\b/,
        "Procfile.dev" => /^\w+:.*\blineside\b/,
        "config/puma.rb" => /^\s*plugin[ (]:lineside\b/
      }.freeze

      def initialize(app, config)
        @root = app.root
        @config = config
      end

      def start
        return unless starts.empty?

        "nothing in #{STARTS.keys.join(', ')} starts the sidecar; run `bin/rails generate lineside:install`, " \
          "unless you start it yourself or with another tool, such as systemd"
      end

      def started_once
        procfile = starts.keys.find { |file| file.start_with?("Procfile") }
        return unless procfile && starts.key?("config/puma.rb")

        "#{procfile} and config/puma.rb both start a sidecar, but an app can have only one; remove one of the lines"
      end

      # Fails if a line of a Procfile sets a variable to another value than the app's.
      def started_alike
        own = { "LINESIDE_LINK" => "unix:#{@config.link_path}", "LINESIDE_PATH" => @config.path }
        starts.to_a.product(own.to_a).each do |(file, line), (name, value)|
          given = line[/\b#{name}=(\S+)/, 1]
          next if given.nil? || given == value

          return "#{file} starts the sidecar with #{name}=#{given}, but the app has #{value}; " \
                 "set it for both or for neither"
        end
        nil
      end

      def server
        return if Gem.loaded_specs.key?("puma")

        "Puma is not among the app's gems; if the server does not support rack.hijack, let a proxy route " \
          "#{@config.path} to the sidecar's own port"
      end

      def tags
        return if any?("app/{views,components}/**/*", "lineside_meta_tags")

        missing = "no view calls lineside_meta_tags"
        return Skipped.new("#{missing}, which pages of Action Cable do not need") if RailsApp.cable? && !module_used?

        "#{missing}; put <%= lineside_meta_tags %> into the head of the layout"
      end

      def browser_module
        map = text(ImportMap::FILE)
        return Skipped.new("there is no #{ImportMap::FILE}") if map.empty?
        return if map.match?(ImportMap::PIN)

        %(lineside.js is imported but not pinned; add pin "lineside" to #{ImportMap::FILE}) if
          any?("app/javascript/**/*", /from ["']lineside["']/)
      end

      private

      # Lines that start a sidecar, by file.
      def starts
        @starts ||= STARTS.to_h { |file, pattern| [file, text(file).lines.grep(pattern).first] }.compact
      end

      # Whether pages import the browser module, besides lineside/turbo.
      def module_used? = any?("app/{javascript,frontend,views}/**/*", %r{["'/]lineside(\.js)?["']})

      def any?(files, pattern) = @root.glob(files).any? { |file| file.file? && file.binread.match?(pattern) }

      def text(file) = @root.join(file).then { |path| path.file? ? path.read : "" }
    end
  end
end
