# frozen_string_literal: true

# Workers that are forked by the first worker (SIGURG).
workers 2
threads 2, 2
fork_worker 0
bind "tcp://127.0.0.1:0"
rackup File.expand_path("../config.ru", __dir__)
