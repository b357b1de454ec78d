# frozen_string_literal: true

bind "tcp://127.0.0.1:#{ENV.fetch('DEMO_PORT', 3000)}"

# Cluster as in production: the app is loaded once and forked, and each process opens its own link.
workers 2
threads 1, 5
preload_app!

# Runs the sidecar: starts and stops it with Puma, and restarts it if it ends.
plugin :lineside
