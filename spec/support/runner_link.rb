# frozen_string_literal: true

require_relative "eventually"

# End of an app link in place of a sidecar's: keeps the frames that a runner sends.
class RunnerLink
  include Eventually

  NAMES = { 51 => :done, 52 => :transmit, 53 => :stream, 54 => :stop_stream, 55 => :left }.freeze

  # @return [String, nil] variables of a channel object, as the runner sent them last
  attr_reader :variables

  def initialize
    @frames = Queue.new
  end

  def write(kind, body)
    @frames << [NAMES.fetch(kind), body]
    true
  end

  # Waits for frames in any order, and returns all up to the last of them.
  # @return [Array<Array(Symbol, Object)>] name of each frame, and its contents without the connection
  def until(*expected)
    frames = []
    eventually("the frames #{expected} in #{frames}") do
      frames << contents(*@frames.pop) until @frames.empty? || (expected - frames).empty?
      (expected - frames).empty?
    end
    frames
  end

  def empty? = @frames.empty?

  private

  def contents(name, body)
    case name
    when :done
      @variables = body[:variables] if body.key?(:variables)
      [name, body[:id]]
    when :transmit then [name, JSON.parse(body[:text])]
    when :left then [name, body[:connection]]
    else [name, *body.values_at(:identifier, :stream)]
    end
  end
end
