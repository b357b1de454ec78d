# frozen_string_literal: true

# Run by `gem install`: writes a Makefile whose one cargo call builds the extension and the sidecar. RubyGems' own way
# of building Rust extensions would build no binary, and mkmf would need the rb_sys gem at install time.
#
# CARGO names another cargo, CARGO_TARGET_DIR another folder to build in.
require "rbconfig"

manifest = File.expand_path("../../Cargo.toml", __dir__)
cargo = ENV.fetch("CARGO", "cargo")
unless system(cargo, "--version", out: File::NULL, err: File::NULL)
  abort "lineside: building from source needs Rust #{File.read(manifest)[/^rust-version = "(.+)"/, 1]} or newer " \
        "(https://rustup.rs) and libclang (Debian: libclang-dev); `#{cargo}` cannot be run"
end

cc, sitearchdir, soext, dlext = RbConfig::CONFIG.values_at("CC", "sitearchdir", "SOEXT", "DLEXT")
own_target = File.join(Dir.pwd, "target")
target = ENV.fetch("CARGO_TARGET_DIR", own_target)
# libclang without Clang's own headers (stdarg.h and so on) is content with those of the C compiler.
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

  # Also the end of an install: RubyGems 3.3 never calls it, and some 200 MB would stay in the installed gem.
  clean:
  \trm -rf "#{own_target}"

  .PHONY: all install clean
MAKEFILE
