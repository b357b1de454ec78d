# frozen_string_literal: true

require "lineside/import_map"

module Lineside
  module Generators
    # Part of {InstallGenerator} for apps with Action Cable and Hotwire, found by their files: the adapter in
    # config/cable.yml, and the module lineside/turbo where turbo-rails is imported.
    module Hotwire
      CABLE = "config/cable.yml"
      PACKAGES = "package.json"

      # Environments whose adapter is set, besides others of the app that config/cable.yml names. That of `test` stays,
      # and so does `adapter: test`.
      ENVIRONMENTS = %w[development production].freeze

      # Adapter that stays.
      KEPT = /^ +adapter: *["']?(lineside|test)\b/

      # Lines of config/cable.yml that the generator has changed, with the adapter before, or added.
      CHANGED = /^( +)adapter: lineside # was: (.*)$/
      ADDED = /^ +adapter: lineside # added by lineside:install\n/

      # Scripts that can import turbo-rails.
      SCRIPTS = "app/{javascript,frontend}/**/*.{js,mjs,ts,jsx,tsx}"
      IMPORT = %r{^import [^\n]*["']@hotwired/turbo-rails["'];?[ \t]*\n}
      TURBO_PIN = %r{^\s*pin[ (]+["']@hotwired/turbo-rails["']}

      # Path of the module below the app's script, for bundlers, and in the gem.
      MODULE = "lineside/turbo"
      SOURCE = File.expand_path("../../../../app/assets/javascripts/#{MODULE}.js", __dir__)

      private

      def change_adapters
        return restore_adapters if revoking?

        missing = environments.reject { |environment| change_adapter(environment) }
        todo "set adapter: lineside in #{CABLE} for #{missing.to_sentence}" if missing.any?
      end

      # @return [Array<String>] names of environments, such as "staging"
      def environments
        files = Dir.glob("config/environments/*.rb", base: destination_root).sort
        others = files.map { |file| File.basename(file, ".rb") } & read(CABLE).scan(/^(\w+):/).flatten
        (ENVIRONMENTS | others) - ["test"]
      end

      # @return [Boolean] whether the environment has the adapter, or that of tests
      def change_adapter(environment)
        section = read(CABLE)[/^#{environment}:[^\n]*\n(?:[ \t#][^\n]*\n?|\n)*/] or return false
        return true.tap { say_status(:identical, CABLE, :blue) } if section.match?(KEPT)

        changed = with_adapter(section)
        return false if changed == section

        write(CABLE, read(CABLE).sub(section) { changed })
      end

      def with_adapter(section)
        own = /^( +)adapter: *([^\n]*)\n?/
        return section.sub(own, "\\1adapter: lineside # was: \\2\n") if section.match?(own)

        # A section that takes its adapter from another one, which overrides the lines before the merge.
        section.sub(/^( +)<<:.*\n/, "\\0\\1adapter: lineside # added by lineside:install\n")
      end

      def restore_adapters
        write(CABLE, read(CABLE).gsub(ADDED, "").gsub(CHANGED, "\\1adapter: \\2"))
      end

      # With an import map the module comes from the gem. A bundler needs a copy, because there is no npm package.
      def import_module
        script = turbo_script or return
        return import(script, MODULE) if exists?(ImportMap::FILE) && read(ImportMap::FILE).match?(TURBO_PIN)
        return unless exists?(PACKAGES) && read(PACKAGES).include?("@hotwired/turbo-rails")

        create_file(File.join(File.dirname(script), "#{MODULE}.js"), File.read(SOURCE))
        import(script, "./#{MODULE}")
      end

      def pin_turbo_module
        add(ImportMap::FILE, %r{^\s*pin[ (]+["']lineside/turbo["']}, "pin \"lineside/turbo\"\n")
      end

      def import(script, name)
        pin_turbo_module if name == MODULE
        line = "import \"#{name}\"\n"
        return remove(script, line) if revoking?
        return say_status(:identical, script, :blue) if read(script).match?(%r{^import ["'][^"']*lineside/turbo["']})

        insert script, line, after: IMPORT
      end

      def turbo_script
        Dir.glob(SCRIPTS, base: destination_root).sort.find { |file| read(file).match?(IMPORT) }
      end

      # @return [true]
      def write(file, text)
        say_status :change, file
        File.write(File.join(destination_root, file), text) unless options[:pretend]
        true
      end
    end
  end
end
