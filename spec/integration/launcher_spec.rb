# frozen_string_literal: true

require "open3"
require "tmpdir"
require "lineside/binary"

# Runs the command `lineside` in a temporary folder, with a script in place of the binary that prints its arguments and
# environment.
RSpec.describe "The command lineside" do
  root = File.expand_path("../..", __dir__)

  around { |example| Dir.mktmpdir { |folder| Dir.chdir(@folder = File.realpath(folder)) { example.run } } }

  before do
    write "binary", <<~SH, mode: 0o755
      #!/bin/sh
      echo "pid $$"
      echo "arguments $*"
      env | grep '^LINESIDE_'
      [ -z "$LINESIDE_SECRET_FD" ] || echo "received $(cat "/dev/fd/$LINESIDE_SECRET_FD")"
    SH
  end

  def write(path, text, mode: 0o644)
    FileUtils.mkdir_p(File.dirname(path))
    File.write(path, text)
    File.chmod(mode, path)
  end

  # Writes an app without Rails: `config/environment.rb` alone.
  def write_app(settings)
    write "config/environment.rb", "require \"lineside\"\nputs \"hello from the app\"\n" \
                                   "Lineside.configure do |config|\n#{settings}\nend\n"
  end

  def secret = "the-secret-of-the-app-in-these-specs"

  def other_secret = "the-secret-of-the-environment-that-wins"

  define_method(:run) do |*arguments, **variables|
    environment = ENV.keys.grep(/\ALINESIDE_/).to_h { |name| [name, nil] }
    environment = environment.merge("LINESIDE_BINARY" => "#{@folder}/binary", **variables.transform_keys(&:to_s))
    command = [RbConfig.ruby, "-I#{root}/lib", "#{root}/gem/exe/lineside", *arguments]
    @output, @errors, @status = Open3.capture3(environment, *command)
    @lines = @output.lines(chomp: true)
  end

  it "executes the binary in the same process, with the same arguments" do
    run "serve", "--flag", "a b"
    expect(@lines).to include("pid #{@status.pid}", "arguments serve --flag a b")
  end

  it "boots the app and passes its secret by file descriptor only" do
    write_app %(  config.secret = "#{secret}")
    run "serve"
    expect(@lines).to include("received #{secret}")
    expect(@output.scan(secret).size).to eq 1
    expect(@errors).to match(/^lineside: booted the app for its settings in \d+\.\d s$/)
  end

  it "passes the app's settings and the link to the binary" do
    write_app %(  config.bind = "127.0.0.1:1"\n  config.allowed_origins = %w[https://a.test https://b.test])
    run
    expect(@lines).to include("LINESIDE_BIND=127.0.0.1:1", "LINESIDE_ALLOWED_ORIGINS=https://a.test,https://b.test",
                              "LINESIDE_LINK=unix:#{@folder}/tmp/lineside/development.sock")
    expect(@output).not_to include("LINESIDE_PATH")
  end

  it "prefers environment variables to the app's settings" do
    write_app %(  config.bind = "127.0.0.1:1"\n  config.secret = "#{secret}")
    run "serve", LINESIDE_BIND: "127.0.0.1:2", LINESIDE_SECRET: other_secret
    expect(@lines).to include("LINESIDE_BIND=127.0.0.1:2", "LINESIDE_SECRET=#{other_secret}")
    expect(@output).not_to match(/LINESIDE_SECRET_FD|ssss/)
  end

  it "does not boot the app if the environment has link and secret" do
    write "config/environment.rb", %(raise "booted")
    run "serve", LINESIDE_LINK: "unix:#{@folder}/l.sock", LINESIDE_SECRET_FILE: "/some/file"
    expect(@lines).to include("arguments serve", "LINESIDE_LINK=unix:#{@folder}/l.sock")
    expect(@errors).to eq ""
  end

  it "does not boot the app for --version" do
    write "config/environment.rb", %(raise "booted")
    run "--version"
    expect(@lines).to include("arguments --version")
  end

  it "does not boot the app for the help of a command" do
    write "config/environment.rb", %(raise "booted")
    [%w[help], %w[help tail], %w[tail --help], %w[publish -h], %w[--help]].each do |arguments|
      run(*arguments)
      expect(@lines).to include("arguments #{arguments.join(' ')}")
    end
  end

  it "does not boot the app for arguments that are wrong" do
    write "config/environment.rb", %(raise "booted")
    binary = Lineside::Binary.path
    { %w[publish news {bad] => /\Alineside: the payload is not JSON: .*\n\z/,
      %w[tail a b] => /\Alineside: unexpected argument "b" .see lineside --help.\n\z/ }.each do |arguments, message|
      run(*arguments, LINESIDE_BINARY: binary)
      expect(@errors).to match(message)
      expect(@status).not_to be_success
    end
  end

  it "passes the link to publish, and not the secret" do
    write_app %(  config.secret = "#{secret}")
    run "publish", "news", "1"
    expect(@lines).to include("LINESIDE_LINK=unix:#{@folder}/tmp/lineside/development.sock")
    expect(@output).not_to match(/SECRET|#{secret}/)
  end

  it "redirects the app's output to standard error" do
    write_app %(  config.secret = "#{secret}")
    run "token", "--sub", "42"
    expect(@output).not_to include("hello from the app")
    expect(@errors).to include("hello from the app")
  end

  it "passes the link without an app, and no secret" do
    run "serve"
    expect(@lines).to include("LINESIDE_LINK=unix:#{@folder}/tmp/lineside/development.sock")
    expect(@output).not_to include("LINESIDE_SECRET")
  end

  it "removes inherited file descriptors" do
    run "serve", LINESIDE_SECRET_FD: "7", LINESIDE_TURBO_KEYS_FD: "8"
    expect(@output).not_to include("_FD=")
  end

  it "boots the app for the keys of Turbo if the environment asks for identities without them" do
    write "config/environment.rb", %(raise "booted")
    given = { LINESIDE_LINK: "unix:#{@folder}/l.sock", LINESIDE_SECRET: secret, LINESIDE_CABLE_IDENTITY: "required" }
    run("serve", **given)
    expect(@errors).to include("RuntimeError, booted")
    run("serve", LINESIDE_TURBO_KEYS: "aw==", **given)
    expect(@lines).to include("LINESIDE_TURBO_KEYS=aw==", "LINESIDE_CABLE_IDENTITY=required")
    expect(@output).not_to include("_FD=")
    run("check", **given)
    expect(@lines).to include("arguments check")
  end

  it "passes no keys of Turbo from an app without Action Cable" do
    write_app %(  config.secret = "#{secret}"\n  config.cable_identity = "optional"\n  config.cable_path = "/ws")
    run
    expect(@lines).to include("LINESIDE_CABLE_IDENTITY=optional", "LINESIDE_CABLE_PATH=/ws")
    expect(@output).not_to include("TURBO_KEYS")
  end

  it "fails with one line if the app cannot be booted" do
    write "config/environment.rb", %(raise KeyError, "no DATABASE_URL\\nmore")
    run "serve"
    expect(@status.exitstatus).to eq 1
    expect(@errors.lines.size).to eq 1
    expect(@errors).to match(/\Alineside: .*KeyError, no DATABASE_URL .*environment\.rb:1/)
  end

  it "fails with one line if the app does not load the gem" do
    write "config/environment.rb", ""
    run "serve"
    expect(@status.exitstatus).to eq 1
    expect(@errors.lines.last).to match(/does not load Lineside/)
  end

  it "names the app's folder as the remedy outside of an app" do
    [%w[publish news 1], %w[tail]].each do |arguments|
      run(*arguments)
      expect(@status.exitstatus).to eq 1
      expect(@errors).to match(/\Alineside: there is no app in #{@folder}: run this command in the app's folder.*\n\z/)
    end
    run "tail", LINESIDE_LINK: "unix:/run/shop/l.sock"
    expect(@lines).to include("arguments tail")
  end

  it "fails with one line if there is no binary" do
    run "serve", LINESIDE_BINARY: "/nowhere"
    expect([@status.exitstatus, @errors.lines.size]).to eq [1, 1]
    expect(@errors).to include('LINESIDE_BINARY is "/nowhere"')
  end
end
