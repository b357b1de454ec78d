# frozen_string_literal: true

# What one user says to one other.
class Notice < ApplicationRecord
  include Message

  belongs_to :user
  belongs_to :author, class_name: "User"
end
