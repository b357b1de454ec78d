# frozen_string_literal: true

module Lineside
  # Grants that `config.lineside.token` returns for a page.
  module Grants
    NAMES = %i[channels allow session expires_in].freeze

    # @param grants [Object] what the app's rule returned
    # @return [Hash] keywords of {Signing#token}
    # @raise [ConfigurationError] if it is no Hash of these
    def self.check(grants)
      grants = {} if grants.nil?
      wrong = grants.is_a?(Hash) ? grants.keys - NAMES : [grants]
      return grants if wrong.empty?

      raise ConfigurationError, "config.lineside.token returned #{wrong.first.inspect[0, 64]}, which is no grant: " \
                                "return a Hash of #{NAMES.join(', ')}, such as { channels: [\"news\"] }"
    end
  end
end
