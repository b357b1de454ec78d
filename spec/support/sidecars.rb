# frozen_string_literal: true

require "fileutils"
require "tmpdir"
require "lineside/binary"

# Starts a sidecar for each example, with its own link and port.
module Sidecars
  def self.included(group)
    group.before do
      @folder = Dir.mktmpdir("lineside")
      use(Lineside.config) do |config|
        config.link = "unix:#{link}"
        config.secret = Settings::SECRET
      end
    end
    group.after do
      browsers.each(&:close)
      started.each(&:stop)
      # Without errors: the workers of an ended Puma may still write into it.
      FileUtils.rm_rf(@folder)
    end
  end

  attr_reader :sidecar

  def link = File.join(@folder, "link.sock")

  # Environment of other processes that publish to this example's sidecar, or start it. It sends no heartbeats, because
  # the browsers of examples answer them only while they wait for a message.
  def publisher_env
    { "LINESIDE_LINK" => "unix:#{link}", "LINESIDE_SECRET" => Settings::SECRET, "LINESIDE_HEARTBEAT_SECONDS" => "3600" }
  end

  # Starts the sidecar, with additional settings, and waits until it listens.
  def start_sidecar(**settings)
    env = publisher_env.merge("LINESIDE_BIND" => "127.0.0.1:0", "LINESIDE_ADMIN_BIND" => "none", **settings)
    @sidecar = start([env, Lineside::Binary.path, "serve"])
    @port = Integer(sidecar.written(/event=listening .*bind=127\.0\.0\.1:(\d+)/)[1])
  end

  # Connects a browser to this example's sidecar, with a token for the user and the channels.
  def browse(user = nil, channels: [], **connect)
    Browser.new(@port, token: Lineside.token(user, channels:), **connect).tap { |browser| browsers << browser }
  end

  def browsers = (@browsers ||= [])
end
