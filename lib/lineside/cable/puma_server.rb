# frozen_string_literal: true

module Lineside
  module Cable
    # Prepended to `Puma::Server`.
    module PumaServer
      # Called in a process that answers requests: a single Puma, or each worker of a cluster.
      def run(...)
        Cable.run_channels
        super
      end
    end
  end
end
