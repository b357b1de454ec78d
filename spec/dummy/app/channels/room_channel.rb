# frozen_string_literal: true

# Runs in the app, and notes what it does in a file.
class RoomChannel < ApplicationCable::Channel
  periodically(every: 0.02) { transmit("tick") if params[:ticks] }
  rescue_from(ArgumentError) { |error| transmit(error.message) }

  def subscribed
    note("subscribed")
    return reject if params[:locked]

    @count = params[:from].to_i
    stream_for(params[:room])
    stream_from("block:#{params[:room]}", coder: ActiveSupport::JSON) { |data| transmit([data]) } if params[:block]
  end

  def unsubscribed = note(params[:counted] ? "unsubscribed:#{@count.inspect}" : "unsubscribed")

  # Actions.

  def count = transmit(@count += 1)

  def process_id = transmit(Process.pid)

  def stop = stop_stream_for(params[:room])

  def fail_loudly = raise("no luck")

  def fail_quietly = raise(ArgumentError, "rescued")

  def die = Process.kill(:KILL, Process.pid) && sleep

  # Ends when something is written to the named pipe.
  def hang(data) = File.read(data["until"])

  private

  def note(event) = connection.note("#{event} #{params[:room]}")
end
