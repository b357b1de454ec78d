# frozen_string_literal: true

require_relative "error"

module Lineside
  # Path of the sidecar's executable.
  module Binary
    ROOT = File.expand_path("../..", __dir__)

    module_function

    # @return [String] LINESIDE_BINARY if it is set, else the first executable file in {places}
    # @raise [ConfigurationError] if there is none
    def path
      chosen = ENV.fetch("LINESIDE_BINARY", "")
      return places.find { |place| executable?(place) } || missing if chosen.empty?
      return chosen if executable?(chosen)

      raise ConfigurationError, "LINESIDE_BINARY is #{chosen.inspect}, which is not an executable file: " \
                                "correct the path, or unset it to use the gem's own sidecar"
    end

    # Paths in a gem built for one platform, in a gem compiled at installation (in either folder of RubyGems), and in a
    # checkout.
    def places
      [
        File.join(ROOT, "libexec/lineside"),
        File.join(ROOT, "lib/lineside/lineside"),
        *Gem.loaded_specs["lineside"]&.then { |spec| File.join(spec.extension_dir, "lineside/lineside") },
        *builds
      ]
    end

    # Builds of cargo in the checkout, newest first.
    def builds
      target = File.expand_path(ENV.fetch("CARGO_TARGET_DIR", "target"), ROOT)
      Dir.glob(File.join(target, "{release,debug}/lineside")).sort_by { |build| -File.mtime(build).to_f }
    end

    def executable?(path) = File.file?(path) && File.executable?(path)

    def missing
      raise ConfigurationError, "the sidecar's executable is missing: run `gem pristine lineside` (in a checkout: " \
                                "bin/build), or set LINESIDE_BINARY to its path"
    end

    private_class_method :places, :builds, :executable?, :missing
  end
end
