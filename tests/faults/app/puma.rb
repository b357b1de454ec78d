# frozen_string_literal: true

workers 3
threads 4, 4
preload_app!
bind "tcp://127.0.0.1:0"
rackup File.expand_path("config.ru", __dir__)
# Gives the master a link and a writer thread before each fork.
before_fork { Lineside.publish("unread", { id: "before fork" }) }
