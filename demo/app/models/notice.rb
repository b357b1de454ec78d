# frozen_string_literal: true

# Message to one user.
class Notice < ApplicationRecord
  include Message

  belongs_to :user
  belongs_to :author, class_name: "User"

  broadcasts_refreshes_to :user
end
