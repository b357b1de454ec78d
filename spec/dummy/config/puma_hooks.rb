# frozen_string_literal: true

# Cluster that loads the app in the master and broadcasts in its hooks. Puma 7 and later rename hooks.
workers 2
threads 2, 2
preload_app!
bind "tcp://127.0.0.1:0"
rackup File.expand_path("../config.ru", __dir__)
before_fork do
  ActionCable.server.broadcast("room:hooks", "fork")
  # Opens the master's link for subscriptions.
  ActionCable.server.pubsub.subscribe("room:hooks", ->(_) {})
end
public_send(respond_to?(:before_worker_boot) ? :before_worker_boot : :on_worker_boot) do
  ActionCable.server.broadcast("room:hooks", "boot")
end
