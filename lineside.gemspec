# frozen_string_literal: true

require_relative "lib/lineside/version"
require_relative "gem/files"

Gem::Specification.new do |spec|
  spec.name = "lineside"
  spec.version = Lineside::VERSION
  spec.summary = "Real-time updates from Rails to browsers, through a sidecar"
  spec.description = <<~TEXT
    Lineside adds a publish call to Rails that never blocks. It sends over a Unix socket to a sidecar, which authorizes
    browsers by signed tokens and delivers to per-user and shared channels over WebSocket. The gem includes the sidecar
    and a native extension, both written in Rust.
  TEXT
  spec.authors = ["Lineside contributors"]
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.1"
  spec.metadata["rubygems_mfa_required"] = "true"

  spec.files = LinesideGem::FILES.dup
  spec.bindir = "gem/exe"
  spec.executables = ["lineside"]
  # A checkout that bin/build has built declares none, because RubyGems would look for it elsewhere and warn in every
  # console of an app with `path:`.
  built = Dir.glob("lib/lineside/[0-9]*/lineside.*", base: __dir__).any?
  packaging = File.basename($PROGRAM_NAME).start_with?("gem")
  spec.extensions = ["ext/lineside/extconf.rb"] if packaging || !built
  # No runtime dependency: the gem works without Rails, and cargo alone builds the extension.
end
