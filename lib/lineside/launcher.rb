# frozen_string_literal: true

require_relative "binary"
require_relative "configuration"
require_relative "printable"
require_relative "turbo_keys"

module Lineside
  # `bundle exec lineside`: executes the sidecar's binary with the app's settings and secret.
  #
  # Boots the app in the current folder only if the environment lacks LINESIDE_LINK, or both LINESIDE_SECRET and
  # LINESIDE_SECRET_FILE, or has LINESIDE_CABLE_IDENTITY without LINESIDE_TURBO_KEYS. Otherwise `config.lineside` is not
  # read. Settings are passed as environment variables. The secret and the keys of Turbo ({TurboKeys}) are passed
  # through pipes whose file descriptors are in LINESIDE_SECRET_FD and LINESIDE_TURBO_KEYS_FD, so that they appear
  # neither in the arguments nor in the environment of a process.
  class Launcher
    # Settings that each command needs from the app. Commands that are not listed need none.
    NEEDS = { "serve" => %i[link secret], "token" => %i[secret], "publish" => %i[link],
              "tail" => %i[link], "check" => %i[link secret] }.freeze

    # Options that make a command print its help, for which it needs nothing.
    HELP = %w[-h --help].freeze

    # Environment variables that provide each of these settings.
    VARIABLES = { link: %w[LINESIDE_LINK], secret: %w[LINESIDE_SECRET LINESIDE_SECRET_FILE],
                  turbo_keys: %w[LINESIDE_TURBO_KEYS], cable_identity: %w[LINESIDE_CABLE_IDENTITY] }.freeze

    # @param arguments [Array<String>] arguments of the command line
    def initialize(arguments)
      @arguments = arguments
      @command = arguments.first || "serve"
      @needs = (arguments & HELP).any? ? [] : NEEDS.fetch(@command, [])
      @needs += [:turbo_keys] if serves? && in_environment?(:cable_identity)
    end

    # Replaces this process by the sidecar, so that signals reach it. Never returns: an error is one line on standard
    # error and exit status 1.
    def run
      binary = Binary.path
      check_arguments(binary) if boot? && !booted
      check_folder if %w[publish tail].include?(@arguments.first)
      environment = @needs.empty? ? {} : configuration.environment
      hand_over(secrets) do |variables, descriptors|
        exec(environment.merge(variables), [binary, "lineside"], *@arguments, close_others: true, **descriptors)
      end
    rescue Error, SystemCallError => e
      abort "lineside: #{Printable.of(e.message)}"
    end

    private

    # Ends this process if the arguments are wrong, before the app boots. The binary prints the mistake.
    def check_arguments(binary)
      valid = system([binary, "lineside"], "--parse-only", *@arguments, out: File::NULL)
      exit Process.last_status.exitstatus || 1 if valid == false
    end

    # Finds a command that needs the link of an app, but runs outside of one.
    def check_folder
      return if @needs.empty? || booted || File.file?(app) || in_environment?(:link)
      return if File.socket?(configuration.link_path)

      raise Error, "there is no app in #{Dir.pwd}: run this command in the app's folder, or set LINESIDE_LINK to the " \
                   "link of its sidecar"
    end

    def configuration = @configuration ||= booted || (boot? ? boot : Configuration.new)

    # @return [Configuration, nil] configuration of the app, if this process has booted it already, as in a rake task
    def booted = (Lineside.config if defined?(::Rails.application) && ::Rails.application&.initialized?)

    def serves? = @command == "serve" && !@needs.empty?

    def boot? = File.file?(app) && !@needs.all? { |need| in_environment?(need) }

    def in_environment?(need) = VARIABLES.fetch(need).any? { |name| !ENV.fetch(name, "").empty? }

    def app = File.expand_path("config/environment.rb")

    # @return [Configuration] the app's
    def boot
      started = now
      quietly { load_app }
      warn format("lineside: booted the app for its settings in %.1f s", now - started)
      return Lineside.config if Lineside.respond_to?(:config)

      raise Error, "the app in #{Dir.pwd} does not load Lineside: add gem \"lineside\" to its Gemfile"
    end

    def load_app
      require app
    rescue Error
      raise
    rescue StandardError, ScriptError => e
      raise Error, "the app could not be booted for its settings: #{e.class}, #{e.message.lines.first&.strip} " \
                   "(#{e.backtrace&.first}); fix the error, or set LINESIDE_LINK and LINESIDE_SECRET"
    end

    # Redirects the app's output during boot to standard error, because standard output belongs to the command.
    def quietly
      output = $stdout.dup
      $stdout.reopen($stderr)
      yield
    ensure
      $stdout.reopen(output)
    end

    # @return [Hash{String => String, nil}] secrets by the variables of their file descriptors
    def secrets = { "LINESIDE_SECRET_FD" => secret, "LINESIDE_TURBO_KEYS_FD" => turbo_keys }

    # @return [String, nil] nil if the command needs no secret, the environment has it, or there is none
    def secret
      configuration.secret if @needs.include?(:secret) && !in_environment?(:secret) && configuration.secret?
    end

    # @return [String, nil] keys of Turbo in base64; nil if the sidecar must have none, or if the environment has them
    def turbo_keys
      return if !serves? || in_environment?(:turbo_keys) || configuration.cable_identity.nil?

      # Finding the channel classes loads code of the app.
      keys, obstacle = quietly { [TurboKeys.of(configuration), TurboKeys.obstacle] }
      warn "lineside: Turbo::StreamsChannel #{obstacle}, so the sidecar rejects it by route" if obstacle
      keys
    rescue StandardError, ScriptError => e
      raise Error, "the app's channel classes cannot be found: #{e.class}, #{e.message.lines.first&.strip}; fix the " \
                   "error, or unset cable_identity"
    end

    # Yields the variables and file descriptors that pass secrets to the binary. A variable without a secret is removed.
    def hand_over(secrets)
      readers = secrets.compact.to_h { |name, secret| [name, pipe(name, secret)] }
      variables = secrets.to_h { |name, _| [name, readers[name]&.fileno&.to_s] }
      yield(variables, readers.values.to_h { |reader| [reader.fileno, reader] })
    end

    # The pipe holds four times as much (pipe(7)): the secret is written before there is a reader.
    def pipe(name, secret)
      secret.bytesize <= Secret::BYTES_MAX or
        raise ConfigurationError, "the value for #{name} has #{secret.bytesize} bytes: give #{Secret::BYTES_MAX} " \
                                  "bytes or fewer"

      reader, writer = IO.pipe
      writer.write(secret)
      writer.close
      reader
    end

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
