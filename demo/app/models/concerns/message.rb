# frozen_string_literal: true

# A short text by a user, as the page shows it and as it is published.
module Message
  extend ActiveSupport::Concern

  BODY_CHARACTERS_MAX = 280
  # As many as the page shows.
  NEWEST_COUNT = 30

  included do
    validates :body, presence: true, length: { maximum: BODY_CHARACTERS_MAX }

    scope :newest, -> { includes(:author).order(id: :desc).limit(NEWEST_COUNT) }
  end

  def payload
    { id:, author: author.name, body: }
  end

  # With the moment of the call, in milliseconds since 1970, from which the page counts until it sees the message.
  def payload_sent_now
    payload.merge(sent_at: Process.clock_gettime(Process::CLOCK_REALTIME, :float_millisecond))
  end
end
