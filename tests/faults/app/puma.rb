# frozen_string_literal: true

workers 3
threads 4, 4
preload_app!
bind "tcp://127.0.0.1:0"
rackup File.expand_path("config.ru", __dir__)
# The master has a link and a thread of its own whenever it forks: a worker that is killed, too.
before_fork { Lineside.publish("unread", { id: "before fork" }) }
