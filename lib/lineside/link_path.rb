# frozen_string_literal: true

require "digest"

module Lineside
  # Where publishers meet the sidecar: the path of the Unix socket. Only this file decides it; the launcher tells the
  # sidecar through LINESIDE_LINK.
  module LinkPath
    # Longest path of a socket, in bytes: `sun_path` of unix(7) has 108, the last for its NUL.
    BYTES_MAX = 107

    # Where an app keeps its sockets, under its stable root.
    SOCKET = "tmp/sockets/lineside.sock"

    # A release of Capistrano's kind, such as `/srv/shop/releases/20260102030405`: the folder changes with every deploy.
    RELEASE = %r{\A(?<app>.+)/releases/\d+\z}

    module_function

    # @param link [String, nil] `unix:PATH`; relative to `root`, and nil for the app's own place
    # @param root [String] the app's folder
    # @return [String] an absolute path of at most {BYTES_MAX} bytes, the same for every process of the app
    # @raise [ConfigurationError] if the link is of another kind
    def of(link, root)
      shorten(link ? File.expand_path(path_in(link), root) : File.join(stable(root), SOCKET))
    end

    # The folder that outlives a deploy: `shared` beside the releases where there is one, else the root itself.
    def stable(root)
      shared = RELEASE.match(root)&.then { |release| File.join(release[:app], "shared") }
      shared && File.directory?(shared) ? shared : root
    end

    def path_in(link)
      path = link.delete_prefix("unix:")
      return path unless path == link || path.empty?

      raise ConfigurationError,
            "the link #{link.inspect} cannot be used: write unix:PATH, such as unix:/run/app/lineside.sock"
    end

    # A place under /tmp for a path that is too long: a folder of this user's own and a name that the path decides.
    # TMPDIR is not asked, since it may differ between the app and the sidecar.
    def shorten(path)
      return path if path.bytesize <= BYTES_MAX

      "/tmp/lineside-#{Process.euid}/#{Digest::SHA256.hexdigest(path)[0, 16]}.sock"
    end

    private_class_method :stable, :path_in, :shorten
  end
end
