# frozen_string_literal: true

require "open3"
require "pty"
require "rails/version"
require "tmpdir"

# Each example boots a Rails app in a process of its own.
RSpec.describe "The engine" do
  root = File.expand_path("../..", __dir__)

  around { |example| Dir.mktmpdir { |folder| (@folder = File.realpath(folder)) && example.run } }

  # Boots an app with `settings` in its application class, then runs `code`.
  define_method(:run) do |settings = "", code = "", **variables|
    program = <<~RUBY
      require "timeout"
      require "rails"
      require "lineside"
      class Shop < Rails::Application
        config.root = #{@folder.inspect}
        config.eager_load = false
        config.logger = Logger.new(nil)
        config.secret_key_base = "k" * 64
        #{settings}
      end
      Rails.application.initialize!
      #{code}
    RUBY
    @program = program
    environment = ENV.keys.grep(/\ALINESIDE_/).to_h { |name| [name, nil] }.merge(variables.transform_keys(&:to_s))
    @output, @errors, @status = Open3.capture3(environment, RbConfig.ruby, "-I#{root}/lib", "-e", program)
  end

  it "prints nothing at boot" do
    run
    expect([@output, @errors, @status.exitstatus]).to eq ["", "", 0]
  end

  it "reads config.lineside, also from the app's initializers" do
    FileUtils.mkdir_p("#{@folder}/config/initializers")
    File.write("#{@folder}/config/initializers/lineside.rb", 'Rails.application.config.lineside.bind = "127.0.0.1:1"')
    run 'config.lineside.path = "/live"', "print Lineside.config.path, Lineside.config.bind"
    expect(@output).to eq "/live127.0.0.1:1"
  end

  it "prefers environment variables" do
    run 'config.lineside.path = "/live"', "print Lineside.config.path", LINESIDE_PATH: "/env"
    expect(@output).to eq "/env"
  end

  it "gives the sidecar the app's hosts, unless only Ruby can compare them" do
    code = "print Lineside.config.environment['LINESIDE_HOSTS'].inspect"
    run 'config.hosts = ["shop.example:3000", ".shop.example", IPAddr.new("10.0.0.0/8")]', code
    expect(@output).to eq '"shop.example,.shop.example,10.0.0.0/8"'
    run 'config.hosts = ["shop.example", /x/]', code
    expect(@output).to eq "nil"
    run 'config.hosts = ["a b"]', code
    expect(@output).to eq "nil"
    run 'config.hosts = ["shop.example"]; config.lineside.hosts = "other.example"', code
    expect(@output).to eq '"other.example"'
    run "config.hosts.clear", code
    expect(@output).to eq "nil"
  end

  it "aborts the boot on an unknown setting, and lists the known ones" do
    run 'config.lineside.pth = "/live"'
    expect(@status).not_to be_success
    expect(@errors).to match(/pth is not a setting of Lineside.*\bpath\b/)
  end

  it "aborts the boot on an invalid value, and names setting, value and example" do
    run 'config.lineside.allowed_origins = "example.com"'
    expect(@status).not_to be_success
    expect(@errors).to match(/allowed_origins has "example.com": give .* such as https:/)
  end

  it "aborts the boot if there is no controller with the name that is set" do
    run 'require "action_controller/railtie"; config.lineside.parent_controller = "AdminControler"'
    expect(@status).not_to be_success
    expect(@errors).to match(/parent_controller is "AdminControler", and there is no such controller.*such as/)
  end

  it "aborts the boot on a weak secret, without printing it" do
    run 'config.lineside.secret = "too-short-a-secret"'
    expect(@status).not_to be_success
    expect(@errors).to include("Lineside::ConfigurationError").and(satisfy { |text| !text.include?("too-short") })
    run "", "print 'booted'", LINESIDE_SECRET: "short"
    expect([@output, @status.success?]).to eq ["", false]
  end

  it "logs publications at level debug, and has no subscriber otherwise" do
    publish = 'Lineside.publish("orders", 1)'
    queued = "#{publish}; Thread.pass until Lineside.publisher.status[:last_error]; #{publish}"
    run "config.logger = Logger.new($stdout); config.log_level = :debug", queued
    expect(@output).to match(/Lineside.* orders: queued, .* \(1 bytes, [\d.]+ms\)\n/)
    expect(@output).to match(/Lineside.* orders: queued, no sidecar listens at .*development\.sock .* \(1 bytes, /)
    unconfirmed = 'Lineside.publish!("orders", 1, timeout: 0.1) rescue 0'
    run "config.logger = Logger.new($stdout); config.log_level = :debug", unconfirmed
    expect(@output).to match(/Lineside.* orders: unconfirmed \(1 bytes, [\d.]+ms\)/)
    run "config.logger = Logger.new($stdout); config.log_level = :debug", publish, RAILS_ENV: "test"
    expect(@output).to match(/Lineside.* orders: recorded \(1 bytes, [\d.]+ms\)/)
    run "config.logger = Logger.new($stdout); config.log_level = :info",
        "#{publish}; p ActiveSupport::Notifications.notifier.listening?('publish.lineside')"
    expect(@output).to start_with "false\n"
  end

  it "names unsent publications at exit on a terminal that does not show the log" do
    run
    program = "#{@program}; print Lineside.publish('orders', 1)"
    output = +""
    PTY.spawn(RbConfig.ruby, "-I#{root}/lib", "-e", program) do |terminal, _, pid|
      loop { output << terminal.readpartial(1000) }
    rescue Errno::EIO
      Process.wait(pid)
    end
    expect(output).to match(/\Atrue.*exiting with 1 unconfirmed publications.*no sidecar listens.*start it/)
  end

  it "reports dropped publications to Rails.error in Rails 7.0 and later" do
    run 'config.lineside.spool_bytes_max = 10; config.lineside.link = "unix:/nowhere/lineside.sock"', <<~RUBY
      subscriber = Class.new { def report(error, **) = print(error.class, " ", error.message) }.new
      Rails.error.subscribe(subscriber) if Rails.respond_to?(:error)
      Lineside.publisher.connect
      Timeout.timeout(10) { Thread.pass until Lineside.publisher.status[:last_error] }
      Lineside.publish("orders", 1)
    RUBY
    reported = Rails::VERSION::MAJOR >= 7 ? /\ALineside::NotAccepted .*1 were not accepted.*nowhere/ : /\A\z/
    expect(@output).to match reported
  end

  it "watches ActiveRecord for switches to a replica" do
    run "", 'require "active_record"; print ActiveRecord::Base.singleton_class.include?(Lineside::RequestCursor::Roles)'
    expect([@output, @errors]).to eq ["true", ""]
  end

  it "puts the link below the app's root, whatever the current folder" do
    run "", "print Lineside.config.link_path"
    expect(@output).to eq "#{@folder}/tmp/lineside/development.sock"
  end

  it "derives the same secret from the app's key in every process" do
    secrets = Array.new(2) { run("", "print Lineside.config.secret") && @output }
    expect(secrets.uniq.size).to eq 1
    expect(secrets.first.bytesize).to be >= 32
    expect(secrets.first).not_to include("k" * 8)
  end

  it "boots an app without a key, and raises when a token is signed" do
    run "def secret_key_base = raise(ArgumentError, 'Missing')", <<~RUBY
      begin
        Lineside.token(42)
      rescue Lineside::ConfigurationError => e
        print e.message
      end
    RUBY
    expect(@output).to include("LINESIDE_SECRET")
  end

  it "records publications in the environment test, and opens no link there" do
    run "", <<~RUBY, RAILS_ENV: "test"
      print Lineside.publish("orders", 1), Lineside::Recorder.current.publications.map(&:to_s)
      Rails.application.load_server
      print Dir["/proc/self/task/*/comm"].count { |file| File.read(file).start_with?("lineside") }
    RUBY
    expect([@output, @errors]).to eq ['true["orders: 1"]0', ""]
  end

  it "drops publications of a console's sandbox, except with now: true" do
    run "config.logger = Logger.new($stdout); config.log_level = :info", <<~RUBY
      Lineside.publisher
      Rails.application.sandbox = true
      Rails.application.load_console
      print [Lineside.publish("orders", 1), Lineside.publish_to(7, 1), Lineside.publisher.status[:accepted]].inspect
      [-> { Lineside.publish!("orders", 1) }, -> { Lineside.publish("orders", "x" * 70_000) }].each do |call|
        call.call
      rescue Lineside::Error => e
        print e.class
      end
      print [Lineside.publish("orders", 1, now: true), Lineside.publisher.status[:accepted]].inspect
    RUBY
    expect(@errors).to eq ""
    expect(@output).to include("[true, true, 0]Lineside::InTransactionLineside::PayloadTooLarge[true, 1]")
    expect(@output.scan("the sandbox sends no publications").size).to eq 1
  end

  it "boots an app whose credentials are encrypted with another key, and logs one line" do
    FileUtils.mkdir_p("#{@folder}/config")
    File.write("#{@folder}/config/credentials.yml.enc", "bm8=--bm8=--bm8=")
    settings = "config.instance_variable_set(:@secret_key_base, nil); config.logger = Logger.new($stdout); " \
               "config.credentials.content_path = root.join('config/credentials.yml.enc')"
    run settings, "puts Lineside.config.secret?",
        RAILS_ENV: "production", RAILS_MASTER_KEY: "0" * 32, SECRET_KEY_BASE: nil
    expect(@errors).to eq ""
    expect(@output.lines).to match [/Lineside: the app's credentials cannot be read .*InvalidMessage.*RAILS_MASTER_KEY/,
                                    "false\n"]
  end

  it "opens the link in servers and forked workers only" do
    run "", <<~RUBY
      threads = -> { Dir["/proc/self/task/*/comm"].count { |file| File.read(file).start_with?("lineside") } }
      one = -> { Timeout.timeout(10) { Thread.pass until threads.call == 1 } || "one" }
      print threads.call
      Rails.application.load_server
      print one.call
      $stdout.flush
      Process.wait(fork { print one.call; $stdout.flush; exit! })
    RUBY
    expect([@output, @errors]).to eq ["0oneone", ""]
  end
end
