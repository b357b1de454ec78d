# frozen_string_literal: true

# Files of the source gem: what a build of the extension and the sidecar needs, without tests.
module LinesideGem
  ROOT = File.expand_path("..", __dir__)

  # Paths relative to the repository's root, as globs, so that new files are included.
  FILES = (Dir.glob(
    %w[
      app/**/*.rb lib/**/*.{rb,rake,js}
      app/assets/javascripts/* package.json
      gem/exe/lineside
      ext/lineside/extconf.rb
      Cargo.{toml,lock} {crates,ext}/**/{Cargo.toml,*.rs}
      README.md CHANGELOG.md LICENSE
    ],
    base: ROOT
  ) - Dir.glob("{crates,ext}/**/{tests.rs,tests/**/*.rs,examples/*.rs}", base: ROOT)).sort.freeze
end
