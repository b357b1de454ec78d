# frozen_string_literal: true

require "socket"

# The sidecar's process.
module Sidecar
  # Format of `struct ucred` (unix(7)): process, user and group.
  CREDENTIALS = "i3"

  # @return [Integer] process id of the sidecar, from the kernel's credentials of the socket
  # @raise [SystemCallError] if no sidecar listens
  def self.pid
    UNIXSocket.open(Lineside.config.link_path) do |socket|
      socket.getsockopt(:SOCKET, :PEERCRED).data.unpack1(CREDENTIALS)
    end
  end
end
