# frozen_string_literal: true

require "json"
require "socket"
require_relative "eventually"

# Socket of the link that takes hand-offs, in place of a sidecar. Other links are closed.
class FakeSidecar
  include Eventually

  HAND_OFF = 16
  TAKEN = [4, 144, 0, 0].pack("N C C n").freeze

  # One hand-off: tag and value of its option, its request, and the browser's socket.
  HandOff = Struct.new(:tag, :option, :request, :socket)

  def initialize(path)
    @server = UNIXServer.new(path)
    @taken = Queue.new
    @thread = Thread.new { loop { take(@server.accept) } }
  end

  # @return [HandOff] the next one
  def taken = eventually("a hand-off") { @taken.pop unless @taken.empty? }

  # @return [Boolean] whether there was no further hand-off
  def idle? = @taken.empty?

  def close
    @thread.kill.join
    @server.close
  end

  private

  def take(link)
    first, _, _, control = link.recvmsg(scm_rights: true)
    return link.close if first.empty? || first.getbyte(4) != HAND_OFF

    frame = first + (link.read(first.unpack1("N") + 4 - first.bytesize) || "")
    link.write(TAKEN)
    link.close
    @taken << hand_off(frame, control.unix_rights.first)
  end

  def hand_off(frame, socket)
    options = frame.byteslice(8, frame.unpack1("@6n"))
    peer, origin = frame.byteslice((8 + options.bytesize)..).unpack("n2")
    request = frame.byteslice((8 + options.bytesize + 4 + peer + origin)..)
    tag, bytes = options.unpack("n2")
    HandOff.new(tag, options.empty? ? nil : JSON.parse(options.byteslice(4, bytes)), request, socket)
  end
end
