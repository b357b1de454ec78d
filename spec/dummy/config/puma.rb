# frozen_string_literal: true

workers 2
threads 2, 2
preload_app!
bind "tcp://127.0.0.1:0"
activate_control_app ENV["PUMA_CONTROL"], no_token: true if ENV["PUMA_CONTROL"]
rackup File.expand_path("../config.ru", __dir__)
before_fork { Lineside.publish("orders", "master") }
