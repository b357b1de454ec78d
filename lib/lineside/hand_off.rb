# frozen_string_literal: true

require_relative "hand_off/client"
require_relative "hand_off/request"
require_relative "printable"

module Lineside
  # Rack middleware that passes the sockets of WebSocket requests to the sidecar, so that pages, socket and cookies
  # share one origin. It hijacks the socket (`rack.hijack`), sends its file descriptor to the sidecar and closes its own
  # copy.
  #
  # The engine inserts it before `ActionDispatch::Executor`: host authorization and `force_ssl` apply; sessions, routes
  # and the lock of the code reloader are not used. It passes on all requests other than WebSocket requests for
  # `config.lineside.path`, and answers 426 if a proxy removed the Upgrade header. A later middleware of the app can
  # remove a prefix from the path, such as a tenant's: a route takes these requests.
  class HandOff
    # Value of the Retry-After header, in seconds.
    RETRY_AFTER_SECONDS = 5

    # Interval of the log lines about failed hand-offs, in seconds.
    LOG_SECONDS = 1

    # Key of the environment of a request that only asks whether it arrives here, and header field of the answer.
    CHECK = "lineside.check"
    REACHED = "x-lineside"

    # Response status for a hijacked socket; servers ignore it.
    HIJACKED = -1

    REASONS = { 501 => "Not Implemented", 503 => "Service Unavailable" }.freeze

    NO_HIJACK = "this server does not support rack.hijack: use Puma"

    NO_UPGRADE = "the WebSocket request has no Upgrade header: let the proxy pass the Upgrade and Connection headers"

    TLS = "this server terminates TLS itself, so its sockets cannot be handed over: let a proxy terminate TLS"

    OWN_PORT = ", or let a proxy route this path to the sidecar's own port"

    # @param app [#call] the next middleware
    # @param proxies [Array] arguments of `ActionDispatch::RemoteIp`: whether to check for spoofing, and trusted proxies
    def initialize(app, proxies = HandOff.proxies)
      @app = app
      @remote_ip = ActionDispatch::RemoteIp.new(->(env) { env }, *proxies)
      @logged_at = -LOG_SECONDS
    end

    class << self
      # @return [Array] the app's settings for `ActionDispatch::RemoteIp`
      def proxies
        settings = ::Rails.application.config.action_dispatch
        [settings.ip_spoofing_check, settings.trusted_proxies]
      end

      # @param env [Hash] Rack environment of a WebSocket request
      # @return [String, nil] why its socket cannot be handed over, with the remedy, as far as it is known before the
      #   hijack
      def obstacle(env)
        return NO_HIJACK unless env["rack.hijack"].respond_to?(:call)

        TLS if env.key?("puma.socket") && !plain?(env["puma.socket"])
      end

      # @return [Boolean] whether the socket is unencrypted: Puma's TLS sockets are of another class
      def plain?(socket) = socket.is_a?(BasicSocket)
    end

    # @param env [Hash] Rack environment
    # @return [Array] Rack response
    def call(env)
      return @app.call(env) unless Request.ours?(env)

      answer(env)
    end

    # Hands over the socket of a WebSocket request, whatever its path.
    # @param env [Hash] Rack environment
    # @yieldreturn [Array(Integer, String)] tag and value of an option of the frame ({Client#hand_over}). Not called for
    #   a request whose socket cannot be handed over
    # @return [Array] Rack response
    def answer(env)
      return [204, { REACHED => "reached" }, []] if env[CHECK]
      return refuse(426, NO_UPGRADE) unless Request.upgrade?(env)

      obstacle = HandOff.obstacle(env)
      return refuse(501, obstacle + OWN_PORT) if obstacle

      hand_off(env, (yield if block_given?))
    rescue Client::Unavailable => e
      refuse(503, e.message, e.remedy)
    end

    private

    # Connects to the sidecar first: without one, the server still answers the request normally.
    def hand_off(env, option)
      request = Request.new(@remote_ip.call(env))
      fields = [request.peer, request.origin, request.bytes]
      Client.open(Lineside.config.link_path) { |client| transfer(client, hijack(env), fields, option) }
      [HIJACKED, {}, []]
    rescue NotImplementedError
      # Raised by WEBrick, which has no full hijack.
      refuse(501, NO_HIJACK + OWN_PORT)
    end

    def hijack(env) = env["rack.hijack"].call || env["rack.hijack_io"]

    def transfer(client, socket, fields, option)
      return refuse_on(socket, 501, TLS + OWN_PORT) unless HandOff.plain?(socket)

      client.hand_over(socket, fields, option)
    rescue Client::Unavailable => e
      refuse_on(socket, 503, e.message, e.remedy)
    ensure
      # The sidecar has its own descriptor, so the connection stays open.
      socket.close
    end

    def refuse(status, message, remedy = nil)
      log(status == 503 ? "#{[message, *remedy].join('; ')} (the link is #{Lineside.config.link_path})" : message)
      headers = { "content-type" => "text/plain; charset=utf-8", "cache-control" => "no-store" }
      headers.merge!("upgrade" => "websocket", "sec-websocket-version" => "13") if status == 426
      headers["retry-after"] = RETRY_AFTER_SECONDS.to_s if status == 503
      [status, headers, ["#{message}\n"]]
    end

    # Refuses a request whose socket was hijacked. The shutdown also takes effect for a copy of the descriptor that is
    # still on its way to the sidecar.
    def refuse_on(socket, status, message, remedy = nil)
      response = refuse(status, message, remedy)
      text = response.last.first
      lines = response[1].merge("content-length" => text.bytesize, "connection" => "close").map { |it| it.join(": ") }
      socket.write(["HTTP/1.1 #{status} #{REASONS[status]}", *lines, "", text].join("\r\n"))
      socket.shutdown if HandOff.plain?(socket)
    rescue SystemCallError, IOError
      # The browser has disconnected.
    end

    def log(message)
      now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
      return if now < @logged_at + LOG_SECONDS

      @logged_at = now
      Lineside.config.logger.warn("Lineside: WebSocket hand-off failed: #{Printable.of(message)}")
    end
  end
end
