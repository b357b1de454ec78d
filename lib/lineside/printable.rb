# frozen_string_literal: true

module Lineside
  # Text from outside, prepared for a terminal or a log.
  module Printable
    # Control characters, format characters such as bidirectional marks, and separators of lines.
    UNSAFE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/

    # A record's `to_gid_param`: its global id, which begins with `gid://`, in base64url.
    RECORD = /(?<![\w-])Z2lkOi8v[\w-]+/

    # @param name [String] name of a channel
    # @return [String] the name, followed by each record in it: `Z2lkOi8v… (gid://app/Order/7)`
    def self.channel(name)
      of(name.gsub(RECORD) { |id| "#{id} (#{id.tr('-_', '+/').unpack1('m').force_encoding(Encoding::UTF_8)})" })
    end

    # @param text [String] any bytes
    # @return [String] the text on one line, with unsafe characters as `\u{…}`
    def self.of(text)
      text = text.dup.force_encoding(Encoding::UTF_8) unless text.encoding == Encoding::UTF_8
      text.scrub.gsub(UNSAFE) { |char| format("\\u{%x}", char.ord) }
    end
  end
end
