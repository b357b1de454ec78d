# frozen_string_literal: true

# One of the two sign-ins in the window. The visitor's session keeps the user and an id of the sign-in for each seat.
class Seat
  NAMES = %w[left right].freeze

  # Users signed in when the window is opened for the first time.
  FIRST_USERS = NAMES.zip(User::NAMES).to_h.freeze

  attr_reader :name

  def initialize(session, name)
    @session = session
    @name = name
  end

  def user
    @user ||= User.find_by(id: stored["user"]) if stored
  end

  # @return [String, nil] id of this sign-in, in its tokens, so that its connections can be closed alone
  def sign_in_id = stored&.fetch("id")

  def used_before? = @session.key?(key)

  def sign_in(user)
    @session[key] = { "user" => user.id, "id" => SecureRandom.hex(8) }
  end

  # Closes the sockets of this sign-in on all pages.
  def sign_out
    Lineside.disconnect(user, session: sign_in_id) if user
    @user = nil
    @session[key] = nil
  end

  private

  def key = "seat_#{name}"

  def stored = @session[key]
end
