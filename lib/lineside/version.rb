# frozen_string_literal: true

module Lineside
  # One number for the gem and its crates; the root Cargo.toml has the same.
  VERSION = "0.1.0"
end
