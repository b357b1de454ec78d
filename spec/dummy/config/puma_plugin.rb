# frozen_string_literal: true

# Puma with a sidecar of its own. Workers load the app by themselves, for phased restarts.
plugin :lineside
threads 2, 2
preload_app! false
bind "tcp://127.0.0.1:0"
rackup File.expand_path("../config.ru", __dir__)
