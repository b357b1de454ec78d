# frozen_string_literal: true

# Workers that load the app by themselves, so that they can be replaced one by one (SIGUSR1).
workers 2
threads 2, 2
preload_app! false
bind "tcp://127.0.0.1:0"
rackup File.expand_path("../config.ru", __dir__)
