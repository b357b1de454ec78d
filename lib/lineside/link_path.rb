# frozen_string_literal: true

require "digest"

module Lineside
  # Path of the Unix socket between publishers and sidecar, by default one for each environment in a folder of its own,
  # which the sidecar makes. The launcher passes it to the sidecar in LINESIDE_LINK.
  module LinkPath
    # Maximum length of a socket's path, in bytes: `sun_path` (unix(7)) has 108 with the final NUL.
    SOCKET_PATH_BYTES_MAX = 107

    # Folder of the default path, relative to the app's stable root. The sidecar makes it, for this user alone.
    FOLDER = "tmp/lineside"

    # Release folder of a deploy with Capistrano, such as `/srv/shop/releases/20260102030405`.
    RELEASE = %r{\A(?<app>.+)/releases/\d+\z}

    module_function

    # @param link [String, nil] `unix:PATH`, relative to `root`; nil for the default path
    # @param root [String] the app's folder
    # @param environment [String] name of the app's environment, such as "production": each has its own default path
    # @return [String] an absolute path of at most {SOCKET_PATH_BYTES_MAX} bytes, the same in every process of the app
    # @raise [ConfigurationError] if the link has another form
    def of(link, root, environment)
      shorten(link ? File.expand_path(path_in(link), root) : File.join(stable(root), FOLDER, "#{environment}.sock"))
    end

    # Folder that stays the same across deploys: `shared` beside the releases if it exists, otherwise the root.
    def stable(root)
      shared = RELEASE.match(root)&.then { |release| File.join(release[:app], "shared") }
      shared && File.directory?(shared) ? shared : root
    end

    def path_in(link)
      path = link.delete_prefix("unix:")
      return path unless path == link || path.empty?

      raise ConfigurationError,
            "the link #{link.inspect} is invalid: give unix:PATH, such as unix:/run/app/lineside.sock"
    end

    # Replaces a path that is too long by one under /tmp, in a folder of this user, named by a hash of the path. Ignores
    # TMPDIR, which can differ between app and sidecar.
    def shorten(path)
      return path if path.bytesize <= SOCKET_PATH_BYTES_MAX

      "/tmp/lineside-#{Process.euid}/#{Digest::SHA256.hexdigest(path)[0, 16]}.sock"
    end

    private_class_method :stable, :path_in, :shorten
  end
end
