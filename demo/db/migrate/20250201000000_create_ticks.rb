# frozen_string_literal: true

class CreateTicks < ActiveRecord::Migration[6.1]
  def change
    create_table :ticks do |t|
      t.string :key, null: false, index: { unique: true }
    end
  end
end
