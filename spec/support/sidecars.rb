# frozen_string_literal: true

require "fileutils"
require "tmpdir"
require "lineside/binary"

# A real sidecar on a link and a port of its own, started anew for each example.
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
      FileUtils.remove_entry(@folder)
    end
  end

  attr_reader :sidecar

  def link = File.join(@folder, "link.sock")

  # What another process needs to publish to this example's sidecar.
  def publisher_env = { "LINESIDE_LINK" => "unix:#{link}", "LINESIDE_SECRET" => Settings::SECRET }

  # Starts the sidecar, with more settings if there are any, and waits until it listens.
  def start_sidecar(**settings)
    env = publisher_env.merge("LINESIDE_BIND" => "127.0.0.1:0", "LINESIDE_ADMIN_BIND" => "none", **settings)
    @sidecar = start([env, Lineside::Binary.path, "serve"])
    @port = Integer(sidecar.written(/event=listening .*bind=127\.0\.0\.1:(\d+)/)[1])
  end

  # Opens a browser on this example's sidecar, with a token for that user and those channels.
  def browse(user = nil, channels: [], **connect)
    Browser.new(@port, token: Lineside.token(user, channels:), **connect).tap { |browser| browsers << browser }
  end

  def browsers = (@browsers ||= [])
end
