# frozen_string_literal: true

# Puma with the plugin that runs the sidecar. Workers each load the app, so that phased restarts work.
plugin :lineside
threads 2, 2
preload_app! false
bind "tcp://127.0.0.1:0"
activate_control_app ENV["PUMA_CONTROL"], no_token: true if ENV["PUMA_CONTROL"]
rackup File.expand_path("../config.ru", __dir__)
