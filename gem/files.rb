# frozen_string_literal: true

# What the source gem ships. Cargo resolves the whole workspace before it builds two packages of it, so a member missing
# from the gem is an error: all of them ship, `tests` included, with the lock file that names their dependencies.
module LinesideGem
  ROOT = File.expand_path("..", __dir__)

  # Paths from the repository's root. A glob each, so that a new file ships without a line here.
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
