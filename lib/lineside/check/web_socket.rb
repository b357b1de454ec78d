# frozen_string_literal: true

require "openssl"
require "securerandom"
require "socket"
require "timeout"
require "uri"

module Lineside
  class Check
    # Check that opens the WebSocket of the running app, through its proxies, at the address in the environment variable
    # `URL`.
    class WebSocket
      # Deadline for the answer of the running app, in seconds.
      SECONDS_MAX = 5

      # Maximum size of the head and of the body of its answer that are read, in bytes.
      RESPONSE_BYTES_MAX = 16 * 1024

      def initialize(_app, config)
        @config = config
        @url = ENV.fetch("URL", "").chomp("/")
      end

      def web_socket
        return Skipped.new("give the app's address, such as URL=http://localhost:3000") if @url.empty?

        uri = URI(@url + @config.path)
        return "URL is #{@url}; give http://HOST or https://HOST" unless uri.is_a?(URI::HTTP)

        status, text = Timeout.timeout(SECONDS_MAX) { open_web_socket(uri) }
        "#{uri} answers #{status}: #{text}" unless status == "101"
      rescue SystemCallError, SocketError, IOError, OpenSSL::SSL::SSLError, Timeout::Error, URI::InvalidURIError => e
        "#{@url} cannot be reached: #{e.class}, #{e.message}"
      end

      private

      # @return [Array(String, String)] status and first line of the answer. After 101, Net::HTTP would wait for another
      def open_web_socket(uri)
        socket = connect(uri)
        socket.write(head(uri))
        response = socket.gets("\r\n\r\n", RESPONSE_BYTES_MAX).to_s
        status = response[/\AHTTP\S+ (\d+)/, 1] || "nothing in HTTP"
        bytes = response[/^content-length: *(\d+)/i, 1].to_i
        [status, socket.read([bytes, RESPONSE_BYTES_MAX].min).to_s.lines.first.to_s.strip]
      ensure
        socket&.close
      end

      def connect(uri)
        socket = TCPSocket.new(uri.host, uri.port)
        return socket unless uri.scheme == "https"

        context = OpenSSL::SSL::SSLContext.new.tap(&:set_params)
        OpenSSL::SSL::SSLSocket.new(socket, context).tap do |tls|
          tls.hostname = uri.host
          tls.sync_close = true
          tls.connect.post_connection_check(uri.host)
        end
      end

      def head(uri)
        host = uri.port == uri.default_port ? uri.host : "#{uri.host}:#{uri.port}"
        ["GET #{uri.request_uri} HTTP/1.1", "Host: #{host}", "Origin: #{uri.scheme}://#{host}", "Upgrade: websocket",
         "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: #{SecureRandom.base64(16)}",
         "", ""].join("\r\n")
      end
    end
  end
end
