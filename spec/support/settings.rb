# frozen_string_literal: true

require "stringio"

# Settings and environment of an example.
module Settings
  SECRET = "a secret of the specs: 32 bytes and more"

  # Log of Lineside in this example.
  attr_reader :log

  def with_default_settings
    outside = ENV.select { |name, _| name.start_with?("LINESIDE_") }
    outside.each_key { |name| ENV.delete(name) unless name == "LINESIDE_BINARY" }
    @log = StringIO.new
    use(Lineside::Configuration.new)
    yield
  ensure
    ENV.delete_if { |name, _| name.start_with?("LINESIDE_") }
    ENV.update(outside)
  end

  # Replaces the configuration of Lineside, with {#log} as its log.
  def use(config)
    config.logger = Logger.new(@log)
    Lineside.instance_variable_set(:@config, config)
    Lineside.configure { |it| yield it if block_given? }
  end
end
