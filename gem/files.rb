# frozen_string_literal: true

# Files of the source gem. Cargo resolves the whole workspace before a build, so a missing member is an error: all
# members are included, `tests` too, and the lock file.
module LinesideGem
  ROOT = File.expand_path("..", __dir__)

  # Paths relative to the repository's root, as globs, so that new files are included.
  FILES = Dir.glob(
    %w[
      app/**/*.rb lib/**/*.{rb,rake}
      app/assets/javascripts/* package.json
      gem/exe/lineside
      ext/lineside/extconf.rb
      Cargo.{toml,lock} {crates,ext,tests}/**/{Cargo.toml,*.rs}
      README.md CHANGELOG.md LICENSE
    ],
    base: ROOT
  ).sort.freeze
end
