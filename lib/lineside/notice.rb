# frozen_string_literal: true

module Lineside
  # Answer to a request for the WebSocket's path that opens no WebSocket, such as from a browser's address bar.
  module Notice
    # @param _env [Hash] Rack environment
    # @return [Array] Rack response: 426 with one sentence, that a sidecar listens on the link or not
    def self.call(_env)
      headers = { "content-type" => "text/plain; charset=utf-8", "cache-control" => "no-store",
                  "connection" => "upgrade", "upgrade" => "websocket" }
      [426, headers, ["This is the WebSocket of Lineside, which pages open by script; #{state}.\n"]]
    end

    def self.state
      status = Lineside.publisher.status
      return "this app is linked to its sidecar" if status[:linked]

      "this app is not linked to a sidecar: start it with bundle exec lineside, or run bin/rails lineside:check"
    end
    private_class_method :state
  end
end
