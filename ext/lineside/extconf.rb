# frozen_string_literal: true

# Writes the Makefile for `gem install`. One cargo call builds the extension and the sidecar: RubyGems' builder for Rust
# extensions builds no binary, and mkmf requires the rb_sys gem at install time.
#
# CARGO overrides the cargo command, CARGO_TARGET_DIR the build folder.
require "rbconfig"

manifest = File.expand_path("../../Cargo.toml", __dir__)
cargo = ENV.fetch("CARGO", "cargo")
unless system(cargo, "--version", out: File::NULL, err: File::NULL)
  abort "lineside: building from source needs Rust #{File.read(manifest)[/^rust-version = "(.+)"/, 1]} or newer " \
        "(https://rustup.rs) and libclang (Debian: libclang-dev); cannot run `#{cargo}`"
end

cc, sitearchdir, soext, dlext = RbConfig::CONFIG.values_at("CC", "sitearchdir", "SOEXT", "DLEXT")
own_target = File.join(Dir.pwd, "target")
target = ENV.fetch("CARGO_TARGET_DIR", own_target)
# Headers of the C compiler, for a libclang without Clang's own headers (such as stdarg.h).
headers = `#{cc} -print-file-name=include`.strip

File.write("Makefile", <<~MAKEFILE)
  DESTDIR =
  sitearchdir = #{sitearchdir}
  export RUBY = #{RbConfig.ruby}
  export CARGO_TARGET_DIR = #{target}
  export BINDGEN_EXTRA_CLANG_ARGS := $(BINDGEN_EXTRA_CLANG_ARGS) -idirafter #{headers}

  all:
  \t#{cargo} build --manifest-path "#{manifest}" --release --locked -p lineside -p lineside-ruby

  install: all
  \tmkdir -p "$(DESTDIR)$(sitearchdir)/lineside"
  \tcp "#{target}/release/liblineside_ruby.#{soext}" "$(DESTDIR)$(sitearchdir)/lineside/lineside.#{dlext}"
  \tcp "#{target}/release/lineside" "$(DESTDIR)$(sitearchdir)/lineside/lineside"
  \t$(MAKE) clean

  # Called by install too: RubyGems 3.3 does not call it, and about 200 MB would stay in the installed gem.
  clean:
  \trm -rf "#{own_target}"

  .PHONY: all install clean
MAKEFILE
