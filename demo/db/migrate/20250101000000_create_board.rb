# frozen_string_literal: true

class CreateBoard < ActiveRecord::Migration[6.1]
  def change
    create_table :users do |t|
      t.string :name, null: false, index: { unique: true }
    end

    create_table :posts do |t|
      t.references :author, null: false, foreign_key: { to_table: :users }
      t.string :body, null: false
      t.timestamps
    end

    create_table :notices do |t|
      t.references :user, null: false, foreign_key: true
      t.references :author, null: false, foreign_key: { to_table: :users }
      t.string :body, null: false
      t.timestamps
    end
  end
end
