# frozen_string_literal: true

# foreman gives every process a PORT of its own counting, so the demo's port has a name of its own.
bind "tcp://127.0.0.1:#{ENV.fetch('DEMO_PORT', 3000)}"

# As in production: the app is loaded once and forked, and each process publishes over a link of its own.
workers 2
threads 1, 5
preload_app!
