# frozen_string_literal: true

require "net/http"
require "openssl"
require "socket"

# Runs the dummy app in Puma on a free port.
module Apps
  CONFIG = File.join(ROOT, "spec/dummy/config/puma.rb")

  attr_reader :puma

  # Starts the app with the command `puma`, and waits until the server and all workers have booted.
  # @param config [String] Puma's configuration file
  # @return [Integer] the port
  def serve(*arguments, workers: 0, config: CONFIG, **options)
    serve_by([RbConfig.ruby, "-I", Processes::LIBRARY, "-S", "puma", "-C", config, "-w", workers.to_s, *arguments],
             workers:, **options)
  end

  # Starts the app in a Puma that terminates TLS itself on one of two ports.
  # @return [Integer] the port with TLS
  def serve_tls(**options)
    key = OpenSSL::PKey::RSA.new(2048)
    File.write("#{@folder}/key.pem", key.to_pem)
    File.write("#{@folder}/cert.pem", certificate(key).to_pem)
    serve("-b", "ssl://127.0.0.1:0?key=#{@folder}/key.pem&cert=#{@folder}/cert.pem&verify_mode=none", **options)
    @tls = { use_ssl: true, verify_mode: OpenSSL::SSL::VERIFY_NONE }
    @port = Integer(puma.written(%r{Listening on ssl://127\.0\.0\.1:(\d+)})[1])
  end

  # Starts an app of spec/apps, with an empty database.
  def serve_file(name, env: {})
    command = [RbConfig.ruby, "-I", Processes::LIBRARY, "-S", "puma", "-w", "0", "-b", "tcp://127.0.0.1:0", "-C", "-"]
    serve_by([*command, File.join(ROOT, "spec/apps/#{name}.ru")],
             env: { "DATABASE_URL" => "sqlite3:#{@folder}/app.sqlite3", **env })
  end

  # Starts the app with any command.
  def serve_by(command, workers: 0, env: {}, **options)
    @control = "#{@folder}/control.#{started.size}"
    env = publisher_env.merge("RAILS_ENV" => "development", "PUMA_CONTROL" => "unix://#{@control}", **env)
    @puma = start([env, *command], chdir: ROOT, **options)
    workers.times { |worker| puma.written(/Worker #{worker}.*booted/) }
    @port = Integer(puma.written(%r{Listening on (?:http|ssl)://127\.0\.0\.1:(\d+)})[1])
  end

  def certificate(key)
    OpenSSL::X509::Certificate.new.tap do |it|
      it.subject = it.issuer = OpenSSL::X509::Name.parse("/CN=127.0.0.1")
      it.not_before = Time.now - 60
      it.not_after = Time.now + 3600
      it.public_key = key.public_key
      it.sign(key, OpenSSL::Digest.new("SHA256"))
    end
  end

  # Sends a WebSocket request to the app's port and reads the response as HTTP.
  # @return [Net::HTTPResponse]
  def upgrade(**headers)
    request = Net::HTTP::Get.new("/lineside")
    { "Connection" => "Upgrade", "Upgrade" => "websocket", "Sec-WebSocket-Version" => "13",
      "Sec-WebSocket-Key" => "dGhlIHNhbXBsZSBub25jZQ==", **headers.transform_keys(&:to_s) }
      .each { |name, value| request[name] = value }
    Net::HTTP.start("127.0.0.1", @port, **(@tls || {})) { |http| http.request(request) }
  end

  def status(**headers) = upgrade(**headers).code

  def expect_app_unharmed = expect(Net::HTTP.get("127.0.0.1", "/publish/1", @port)).to match(/\A\d+ true/)

  # Stops a Puma, and waits for its end.
  def stop_app
    command("stop")
    puma.wait
  end

  def restart_phased = command("phased-restart")

  # Starts a hot restart. Puma replaces itself some time later.
  def restart_hot = command("restart")

  # Sends a command to Puma's control server. A signal would do the same, but under Ruby 3.3 its handler can block a
  # Puma without workers for ever, also without Lineside: it writes to a pipe that another thread closes.
  def command(name)
    answer = UNIXSocket.open(@control) do |socket|
      socket.write("GET /#{name} HTTP/1.0\r\n\r\n")
      socket.read
    end
    raise "Puma answered #{answer}" unless answer.match?(%r{\AHTTP/1\.\d 200 })
  end

  # Process ids of the child processes.
  def children(pid) = File.read("/proc/#{pid}/task/#{pid}/children").split.map(&:to_i)

  def descriptors(pid) = Dir.children("/proc/#{pid}/fd").size
end
