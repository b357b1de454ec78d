# frozen_string_literal: true

require_relative "hand_off/link"
require_relative "hand_off/request"

module Lineside
  # Rack middleware that gives browsers' sockets to the sidecar, so that pages, socket and cookies have one origin: the
  # server hands the socket out (`rack.hijack`), the sidecar gets its descriptor, and the app keeps nothing of it.
  #
  # It stands before everything that a request waits for: no session, no route, no lock of the reloader. Requests that
  # ask for no WebSocket at `config.lineside.path` pass through; one that a proxy has taken `Upgrade` from is told so.
  class HandOff
    # Seconds after which a browser may come again.
    RETRY_AFTER_SECONDS = 5

    # One line a second says what cannot be handed over.
    LOG_SECONDS = 1

    # What is returned for a hijacked socket, which no server looks at.
    HIJACKED = -1

    REASONS = { 400 => "Bad Request", 501 => "Not Implemented", 503 => "Service Unavailable" }.freeze

    NO_HIJACK = "this server does not hand out its sockets (rack.hijack): use Puma, or let a proxy route " \
                "this path to the sidecar's own port"

    NO_UPGRADE = "this is a WebSocket, and the request for it came without Upgrade: let the proxy in between pass " \
                 "Upgrade and Connection on"

    TLS = "this server holds TLS itself, so its sockets cannot be handed over: let a proxy hold TLS, or let it route " \
          "this path to the sidecar's own port"

    # @param app [#call] what answers all other requests
    # @param proxies [Array] what `ActionDispatch::RemoteIp` takes: whether to check for spoofing, and trusted proxies
    def initialize(app, proxies = HandOff.proxies)
      @app = app
      @remote_ip = ActionDispatch::RemoteIp.new(->(env) { env }, *proxies)
      @told_at = -LOG_SECONDS
    end

    # @return [Array] the app's own settings
    def self.proxies
      settings = ::Rails.application.config.action_dispatch
      [settings.ip_spoofing_check, settings.trusted_proxies]
    end

    # @param env [Hash] of Rack
    # @return [Array] the response of Rack
    def call(env)
      return @app.call(env) unless Request.ours?(env)

      Request.upgrade?(env) ? answer(env) : refuse(426, NO_UPGRADE)
    end

    private

    def answer(env)
      return refuse(501, NO_HIJACK) unless env["rack.hijack"].respond_to?(:call)
      # Told before the socket is handed out, where the server shows it.
      return refuse(501, TLS) unless plain?(env.fetch("puma.socket") { return hand_off(env) })

      hand_off(env)
    rescue ActionDispatch::RemoteIp::IpSpoofAttackError => e
      refuse(400, e.message)
    rescue Link::Unavailable => e
      refuse(503, e.message)
    end

    # The link is opened first: without a sidecar the server answers as ever.
    def hand_off(env)
      request = Request.new(@remote_ip.call(env))
      fields = [request.peer, request.origin, request.bytes]
      Link.open(Lineside.config.link_path) { |link| give(link, hijack(env), fields) }
      [HIJACKED, {}, []]
    rescue NotImplementedError
      # WEBrick's way to say so.
      refuse(501, NO_HIJACK)
    end

    def hijack(env) = env["rack.hijack"].call || env["rack.hijack_io"]

    def give(link, socket, fields)
      return refuse_on(socket, 501, TLS) unless plain?(socket)

      link.give(socket, fields)
    rescue Link::Unavailable => e
      refuse_on(socket, 503, e.message)
    ensure
      # The sidecar has a descriptor of its own: this ends nothing there.
      socket.close
    end

    # Bytes of a socket that is anything else, such as Puma's for TLS, mean nothing to the sidecar.
    def plain?(socket) = socket.is_a?(BasicSocket)

    def refuse(status, message)
      tell(status == 503 ? "#{message} (the link is #{Lineside.config.link_path})" : message)
      headers = { "content-type" => "text/plain; charset=utf-8" }
      headers["upgrade"] = "websocket" if status == 426
      headers["retry-after"] = RETRY_AFTER_SECONDS.to_s if status == 503
      [status, headers, ["#{message}\n"]]
    end

    # The same where the server has handed the socket out. The socket is shut down for whoever holds it too.
    def refuse_on(socket, status, message)
      response = refuse(status, message)
      text = response.last.first
      lines = response[1].merge("content-length" => text.bytesize, "connection" => "close").map { |it| it.join(": ") }
      socket.write(["HTTP/1.1 #{status} #{REASONS[status]}", *lines, "", text].join("\r\n"))
      socket.shutdown if plain?(socket)
    rescue SystemCallError, IOError
      # The browser has gone.
    end

    def tell(message)
      now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      return if now < @told_at + LOG_SECONDS

      @told_at = now
      Lineside.config.logger.warn("Lineside cannot hand a browser over: #{message}")
    end
  end
end
