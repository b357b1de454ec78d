# frozen_string_literal: true

require_relative "error"

module Lineside
  # Finds the sidecar's executable, wherever the gem came from.
  module Binary
    ROOT = File.expand_path("../..", __dir__)

    module_function

    # @return [String] its path: LINESIDE_BINARY if that is set, else the first of {places} that is there
    # @raise [ConfigurationError] if there is none
    def path
      chosen = ENV.fetch("LINESIDE_BINARY", "")
      return places.find { |place| executable?(place) } || missing if chosen.empty?
      return chosen if executable?(chosen)

      raise ConfigurationError, "LINESIDE_BINARY is #{chosen.inspect}, which is not a file that can be run"
    end

    # A gem for one platform; a gem that was built when it was installed, in either folder of RubyGems'; a checkout.
    def places
      [
        File.join(ROOT, "libexec/lineside"),
        File.join(ROOT, "lib/lineside/lineside"),
        *Gem.loaded_specs["lineside"]&.then { |spec| File.join(spec.extension_dir, "lineside/lineside") },
        *builds
      ]
    end

    # What cargo built in the checkout, the newest first.
    def builds
      target = File.expand_path(ENV.fetch("CARGO_TARGET_DIR", "target"), ROOT)
      Dir.glob(File.join(target, "{release,debug}/lineside")).sort_by { |build| -File.mtime(build).to_f }
    end

    def executable?(path) = File.file?(path) && File.executable?(path)

    def missing
      raise ConfigurationError, "the sidecar's binary is missing: run `gem pristine lineside`, in a checkout " \
                                "bin/build, or name it in LINESIDE_BINARY"
    end

    private_class_method :places, :builds, :executable?, :missing
  end
end
