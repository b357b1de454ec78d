# frozen_string_literal: true

require "socket"

# The process at the other end of the link.
module Sidecar
  # `struct ucred` of unix(7): process, user and group.
  CREDENTIALS = "i3"

  # @return [Integer] its process id, as the kernel tells it
  # @raise [SystemCallError] when nobody is there
  def self.pid
    UNIXSocket.open(Lineside.config.link_path) do |socket|
      socket.getsockopt(:SOCKET, :PEERCRED).data.unpack1(CREDENTIALS)
    end
  end
end
