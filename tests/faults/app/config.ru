# frozen_string_literal: true

require_relative "../../../spec/dummy/config/environment"
require "json"

# Publishes and waits for the receipt; the response has its cursor.
publish = lambda do |env|
  channel, id = env["PATH_INFO"].delete_prefix("/").split("/").map { |part| Rack::Utils.unescape(part) }
  receipt = Lineside.publish!(channel, { id: }, timeout: 30)
  [200, { "content-type" => "application/json" }, [{ cursor: receipt.cursor, duplicate: receipt.duplicate? }.to_json]]
rescue Lineside::Error => e
  [503, { "content-type" => "text/plain" }, [e.message]]
end

map("/publish") { run publish }
map("/") { run Rails.application }
