# frozen_string_literal: true

require "net/http"

# The dummy app in a real Puma on a port of the system's choice, beside a real sidecar.
module Apps
  CONFIG = File.join(ROOT, "spec/dummy/config/puma.rb")

  attr_reader :puma

  # Starts the app by the command `puma`, and waits until all of it has booted.
  # @param config [String] Puma's configuration file
  # @return [Integer] the port
  def serve(*arguments, workers: 0, config: CONFIG, **options)
    serve_by([RbConfig.ruby, "-I", Processes::LIBRARY, "-S", "puma", "-C", config, "-w", workers.to_s, *arguments],
             workers:, **options)
  end

  # The same, by any command.
  def serve_by(command, workers: 0, env: {}, **options)
    @puma = start([publisher_env.merge("RAILS_ENV" => "test", **env), *command], chdir: ROOT, **options)
    workers.times { |worker| puma.written(/Worker #{worker}.*booted/) }
    @port = Integer(puma.written(%r{Listening on (?:http|ssl)://127\.0\.0\.1:(\d+)})[1])
  end

  # What is answered to an upgrade that opens no WebSocket, on the app's port.
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

  # Asks a single Puma to end, and waits until it has. Under Ruby 3.3.8 a busy Puma 6.6 does not hear SIGTERM in one
  # stop of eight, so it is asked again until it has begun. Workers cannot be asked again.
  def stop_app
    already = puma.output.length
    asked = 0
    eventually("Puma's stop") do
      next true if puma.ended? || puma.output[already..].match?(/Gracefully|draining/)

      puma.signal(:TERM) if asked < (asked = clock.to_i)
      false
    end
    puma.wait
  end

  # The workers, and whatever else it has started.
  def children(pid) = File.read("/proc/#{pid}/task/#{pid}/children").split.map(&:to_i)

  def descriptors(pid) = Dir.children("/proc/#{pid}/fd").size
end
