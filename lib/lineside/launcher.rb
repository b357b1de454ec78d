# frozen_string_literal: true

require_relative "binary"
require_relative "configuration"
require_relative "printable"

module Lineside
  # `bundle exec lineside`: executes the sidecar's binary with the app's settings and secret.
  #
  # Boots the app in the current folder only if the environment lacks LINESIDE_LINK, or both LINESIDE_SECRET and
  # LINESIDE_SECRET_FILE. Otherwise `config.lineside` is not read. Settings are passed as environment variables. The
  # secret is passed through a pipe whose file descriptor is in LINESIDE_SECRET_FD, so that it appears neither in the
  # arguments nor in the environment of a process.
  class Launcher
    # Settings that each command needs from the app. Commands that are not listed need none.
    NEEDS = { "serve" => %i[link secret], "token" => %i[secret], "publish" => %i[link],
              "tail" => %i[link], "check" => %i[link secret] }.freeze

    # Options that make a command print its help, for which it needs nothing.
    HELP = %w[-h --help].freeze

    # Environment variables that provide each of these settings.
    VARIABLES = { link: %w[LINESIDE_LINK], secret: %w[LINESIDE_SECRET LINESIDE_SECRET_FILE] }.freeze

    # @param arguments [Array<String>] arguments of the command line
    def initialize(arguments)
      @arguments = arguments
      @needs = (arguments & HELP).any? ? [] : NEEDS.fetch(arguments.first || "serve", [])
    end

    # Replaces this process by the sidecar, so that signals reach it. Never returns: an error is one line on standard
    # error and exit status 1.
    def run
      binary = Binary.path
      check_arguments(binary) if boot? && !booted
      check_folder if %w[publish tail].include?(@arguments.first)
      environment = @needs.empty? ? {} : configuration.environment
      hand_over(secret) do |variables, descriptors|
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

    # @return [String, nil] nil if the command needs no secret, the environment has it, or there is none
    def secret
      configuration.secret if @needs.include?(:secret) && !in_environment?(:secret) && configuration.secret?
    end

    # Yields the variables and file descriptors that pass the secret to the binary.
    def hand_over(secret)
      return yield({ "LINESIDE_SECRET_FD" => nil }, {}) unless secret

      # The pipe holds four times as much (pipe(7)): the secret is written before there is a reader.
      secret.bytesize <= Secret::BYTES_MAX or
        raise ConfigurationError, "the secret has #{secret.bytesize} bytes: give #{Secret::BYTES_MAX} bytes or fewer"

      reader, writer = IO.pipe
      writer.write(secret)
      writer.close
      yield({ "LINESIDE_SECRET_FD" => reader.fileno.to_s }, { reader.fileno => reader })
    end

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
