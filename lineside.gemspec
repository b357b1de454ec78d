# frozen_string_literal: true

require_relative "lib/lineside/version"
require_relative "gem/files"

Gem::Specification.new do |spec|
  spec.name = "lineside"
  spec.version = Lineside::VERSION
  spec.summary = "Real-time updates from Rails to browsers, through a sidecar of its own"
  spec.description = <<~TEXT
    Lineside gives Rails a publish call that never blocks, over a Unix socket, to a sidecar that authorizes browsers by
    signed tokens and fans publications out over WebSocket to per-user and shared channels. Extension and sidecar are Rust
    and come with the gem.
  TEXT
  spec.authors = ["Lineside contributors"]
  spec.license = "MIT"
  spec.required_ruby_version = ">= 3.1"
  spec.metadata["rubygems_mfa_required"] = "true"

  spec.files = LinesideGem::FILES.dup
  spec.bindir = "gem/exe"
  spec.executables = ["lineside"]
  spec.extensions = ["ext/lineside/extconf.rb"]
  # No runtime dependency: Rails is the host when it is there, and the extension is built with cargo alone.
end
