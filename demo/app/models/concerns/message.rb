# frozen_string_literal: true

# Short text written by a user: validations and payload shared by posts and notices.
module Message
  extend ActiveSupport::Concern

  BODY_CHARACTERS_MAX = 280
  # Number of messages on the page; page.js has the same.
  NEWEST_COUNT = 30

  included do
    validates :body, presence: true, length: { maximum: BODY_CHARACTERS_MAX }

    scope :newest, -> { includes(:author).order(id: :desc).limit(NEWEST_COUNT) }
  end

  def content
    { id:, author: author.name, body: }
  end

  # Content with the current time in milliseconds since 1970, from which the page computes the delay.
  def payload
    content.merge(sent_at: Process.clock_gettime(Process::CLOCK_REALTIME, :float_millisecond))
  end
end
