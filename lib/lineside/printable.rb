# frozen_string_literal: true

module Lineside
  # Text from outside, prepared for a terminal or a log.
  module Printable
    # Control characters, format characters such as bidirectional marks, and separators of lines.
    UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/

    # @param text [String] any bytes
    # @return [String] the text on one line, with unsafe characters as `\u{…}`
    def self.of(text)
      text = text.dup.force_encoding(Encoding::UTF_8) unless text.encoding == Encoding::UTF_8
      text.scrub.gsub(UNSAFE) { |char| format("\\u{%x}", char.ord) }
    end
  end
end
