# frozen_string_literal: true

bind "tcp://127.0.0.1:#{ENV.fetch('DEMO_PORT', 3000)}"

# As in production: the app is loaded once and forked, and each process publishes over a link of its own.
workers 2
threads 1, 5
preload_app!

# The sidecar beside it: starts and stops with this process, and is started again when it ends.
plugin :lineside
