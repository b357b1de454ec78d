# frozen_string_literal: true

# What one user says to everybody.
class Post < ApplicationRecord
  include Message

  belongs_to :author, class_name: "User"
end
