# frozen_string_literal: true

module Lineside
  # Version of the gem; Cargo.toml and package.json have the same.
  VERSION = "0.1.0"
end
