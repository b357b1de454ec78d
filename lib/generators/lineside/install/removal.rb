# frozen_string_literal: true

module Lineside
  module Generators
    # Part of {InstallGenerator} for `bin/rails destroy lineside:install`: removes what the generator added, also if the
    # user has changed or moved it since.
    module Removal
      # A line of a layout that calls the helper and nothing else.
      TAGS = /^\s*<%= *lineside_meta_tags[^%\n]*%>\n/

      private

      def revoking? = behavior == :revoke

      def remove(file, text)
        content = read(file)
        return say_status(:identical, file, :blue) unless content.include?(text.strip)

        say_status :subtract, file, :red
        kept = content.include?(text) ? content.sub(text, "") : content.sub("#{text.strip}\n", "")
        File.write(File.join(destination_root, file), kept) unless options[:pretend]
      end

      def remove_tags
        line = read(InstallGenerator::LAYOUT)[TAGS]
        remove(InstallGenerator::LAYOUT, line) if line
        return unless read(InstallGenerator::LAYOUT).include?("lineside_meta_tags")

        todo "remove lineside_meta_tags from #{InstallGenerator::LAYOUT}"
      end

      def print_removal
        say "\nLineside is removed from these files. Next steps:\n\n"
        todo 'remove gem "lineside" from the Gemfile, and what uses it'
        todos.each { |text| say "  * #{text}" }
      end
    end
  end
end
