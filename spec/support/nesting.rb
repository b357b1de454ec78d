# frozen_string_literal: true

# Nested transactions at random, beside a list that is kept by the plain rule: what is rolled back goes.
class Nesting
  DEPTH_MAX = 4

  def initialize(random, databases, &publish)
    @random = random
    @databases = databases
    @publish = publish
    @number = 0
    @left = []
  end

  # What should have been delivered since this was asked last.
  def expected = @left.tap { @left = [] }

  def transaction
    @left.concat(within(@databases.sample(random: @random), 1))
  end

  private

  # One transaction of a database; what it leaves to the one around it.
  def within(database, depth)
    kept = []
    database.transaction(requires_new: depth > 1) do
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
