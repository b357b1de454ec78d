# frozen_string_literal: true

# Runs nginx in front of an app and its sidecar, with the configuration from docs/deploy.md.
module Proxies
  GUIDE = File.join(ROOT, "docs/deploy.md")

  # Starts nginx and waits until it listens. The block can change the configuration.
  # @param routes [Array<String>] headings of the guide whose `location` blocks are added to the server
  # @return [Integer] its port
  def nginx(app:, sidecar: nil, routes: [])
    port = TCPServer.open("127.0.0.1", 0) { |server| server.addr[1] }
    blocks = blocks(routes, "listen 80" => "listen 127.0.0.1:#{port}", "127.0.0.1:8090" => sidecar.to_s,
                            "unix:/srv/shop/tmp/sockets/puma.sock" => app)
    blocks = yield blocks if block_given?
    template = File.read(File.join(ROOT, "spec/support/nginx.conf"))
    File.write("#{@folder}/nginx.conf", format(template, folder: @folder, blocks:))
    await(start(["nginx", "-e", "stderr", "-c", "#{@folder}/nginx.conf"]), port)
  end

  private

  # Server block of the guide with the locations, and with the addresses replaced.
  def blocks(routes, addresses)
    locations = routes.map { |heading| guide(heading).last }
    server = guide("nginx").first.sub(/^}\Z/) { "#{locations.join}}" }
    addresses.each { |written, real| server.gsub!(written, real) }
    server
  end

  # nginx configuration of the guide below a heading.
  # @return [Array<String>]
  def guide(heading)
    section = File.read(GUIDE)[/^### #{Regexp.escape(heading)}\n(.*?)(?=^##)/m, 1] or raise "no #{heading} in #{GUIDE}"
    section.scan(/^```nginx\n(.*?)^```/m).flatten
  end

  def await(server, port)
    eventually("nginx") { server.ended? ? raise(server.output) : listening?(port) }
    port
  end

  def listening?(port)
    TCPSocket.open("127.0.0.1", port, &:close)
    true
  rescue Errno::ECONNREFUSED
    false
  end
end
