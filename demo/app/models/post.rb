# frozen_string_literal: true

# Message to everybody.
class Post < ApplicationRecord
  include Message

  belongs_to :author, class_name: "User"

  broadcasts_to ->(_post) { "board" }, inserts_by: :prepend
end
