# frozen_string_literal: true

# Runs random nested transactions, some of them not joinable, and keeps a list of the publications that must survive.
class Nesting
  DEPTH_MAX = 4

  def initialize(random, databases, &publish)
    @random = random
    @databases = databases
    @publish = publish
    @number = 0
    @left = []
  end

  # Expected deliveries since the last call.
  def expected = @left.tap { @left = [] }

  def transaction
    @left.concat(within(@databases.sample(random: @random), 1))
  end

  private

  # Runs one transaction, and returns the publications that it keeps.
  def within(database, depth)
    kept = []
    database.transaction(requires_new: depth > 1, joinable: @random.rand < 0.7) do
      @random.rand(0..3).times { kept.concat(step(database, depth)) }
      outcome(kept)
    end
    kept
  rescue IOError
    kept.clear
  end

  def step(database, depth)
    return within(database, depth + 1) if depth < DEPTH_MAX && @random.rand < 0.4

    database.create!(name: "row") if @random.rand < 0.2
    @publish.call(@number += 1)
    [@number]
  end

  def outcome(kept)
    case @random.rand
    when 0...0.25
      kept.clear
      raise ActiveRecord::Rollback
    when 0.25...0.4 then raise IOError, "of the app"
    end
  end
end
