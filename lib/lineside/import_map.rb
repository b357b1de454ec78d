# frozen_string_literal: true

module Lineside
  # Import map of an app: the file of importmap-rails.
  module ImportMap
    # Path below the app's root.
    FILE = "config/importmap.rb"

    # Line that pins the browser module, with or without parentheses.
    PIN = /^\s*pin[ (]+["']lineside["']/
  end
end
