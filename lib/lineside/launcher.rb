# frozen_string_literal: true

require_relative "binary"
require_relative "configuration"

module Lineside
  # `bundle exec lineside`: becomes the sidecar's binary, told the app's settings and given its secret.
  #
  # The app in the current folder is booted only for what the environment does not say: LINESIDE_LINK, and
  # LINESIDE_SECRET or LINESIDE_SECRET_FILE. With these set, nothing is booted and `config.lineside` is not read.
  # Settings travel as variables, the secret through a pipe whose descriptor LINESIDE_SECRET_FD names: it stands neither
  # in the arguments nor in the environment of any process.
  class Launcher
    # What each command has to be told; the others need nothing of the app.
    NEEDS = { "serve" => %i[link secret], "token" => %i[secret], "publish" => %i[link],
              "tail" => %i[link], "check" => %i[link secret] }.freeze

    # The variables that tell it.
    TOLD_BY = { link: %w[LINESIDE_LINK], secret: %w[LINESIDE_SECRET LINESIDE_SECRET_FILE] }.freeze

    # What a pipe holds before anybody reads it, by pipe(7); the secret is written before there is a reader.
    SECRET_BYTES_MAX = 65_536

    # @param arguments [Array<String>] the command line's
    def initialize(arguments)
      @arguments = arguments
      @needs = NEEDS.fetch(arguments.first || "serve", [])
    end

    # Replaces this process, so that signals reach the sidecar. Returns never: what goes wrong is one line on standard
    # error and status 1.
    def run
      binary = Binary.path
      environment = @needs.empty? ? {} : configuration.environment
      hand_over(secret) do |variables, descriptors|
        exec(environment.merge(variables), [binary, "lineside"], *@arguments, close_others: true, **descriptors)
      end
    rescue Error, SystemCallError => e
      abort "lineside: #{e.message}"
    end

    private

    def configuration = @configuration ||= booted || (boot? ? boot : Configuration.new)

    # @return [Configuration, nil] of the app that this process has booted already, as a task's has
    def booted = (Lineside.config if defined?(::Rails.application) && ::Rails.application&.initialized?)

    def boot? = File.file?(app) && !@needs.all? { |need| told?(need) }

    def told?(need) = TOLD_BY.fetch(need).any? { |name| !ENV.fetch(name, "").empty? }

    def app = File.expand_path("config/environment.rb")

    # @return [Configuration] the app's
    def boot
      started = now
      quietly { load_app }
      warn format("lineside: booted the app for its settings in %.1f s", now - started)
      return Lineside.config if Lineside.respond_to?(:config)

      raise Error, "the app in #{Dir.pwd} does not load Lineside: its Gemfile needs gem \"lineside\""
    end

    def load_app
      require app
    rescue Error
      raise
    rescue StandardError, ScriptError => e
      raise Error, "the app could not be booted for its settings: #{e.class}, #{e.message.lines.first&.strip} " \
                   "(#{e.backtrace&.first}); mend it, or set LINESIDE_LINK and LINESIDE_SECRET"
    end

    # What the app prints while it boots goes to standard error: the output of `token` is the token.
    def quietly
      output = $stdout.dup
      $stdout.reopen($stderr)
      yield
    ensure
      $stdout.reopen(output)
    end

    # @return [String, nil] nil where none is needed or found, or where the binary finds it in the environment
    def secret
      configuration.secret if @needs.include?(:secret) && !told?(:secret) && configuration.secret?
    end

    # Yields the variables and the descriptors by which the binary receives the secret.
    def hand_over(secret)
      return yield({ "LINESIDE_SECRET_FD" => nil }, {}) unless secret
      raise ConfigurationError, "the secret is over #{SECRET_BYTES_MAX} bytes" if secret.bytesize > SECRET_BYTES_MAX

      reader, writer = IO.pipe
      writer.write(secret)
      writer.close
      yield({ "LINESIDE_SECRET_FD" => reader.fileno.to_s }, { reader.fileno => reader })
    end

    def now = Process.clock_gettime(Process::CLOCK_MONOTONIC)
  end
end
