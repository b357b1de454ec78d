# frozen_string_literal: true

# A place in the window where one person is signed in: the visitor's session holds who, and an id of that sign-in.
class Seat
  NAMES = %w[left right].freeze

  # Who sits there in a new window.
  FIRST_USERS = NAMES.zip(User::NAMES).to_h.freeze

  attr_reader :name

  def initialize(session, name)
    @session = session
    @name = name
  end

  def user
    @user ||= User.find_by(id: held["user"]) if held
  end

  # @return [String, nil] names this sign-in to Lineside, so that it can be ended alone
  def sign_in_id = held&.fetch("id")

  def taken_before? = @session.key?(key)

  def sign_in(user)
    @session[key] = { "user" => user.id, "id" => SecureRandom.hex(8) }
  end

  # Ends the sockets that were opened under this sign-in, on whichever page they are.
  def sign_out
    Lineside.disconnect(user, session: sign_in_id) if user
    @user = nil
    @session[key] = nil
  end

  private

  def key = "seat_#{name}"

  def held = @session[key]
end
