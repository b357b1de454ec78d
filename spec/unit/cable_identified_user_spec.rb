# frozen_string_literal: true

require "active_model"

RSpec.describe "User of an Action Cable connection", :cable_classes do
  before do
    %w[User Admin Tenant].each do |name|
      stub_const(name, Struct.new(:id) { extend ActiveModel::Naming })
    end
  end

  def user(**identified) = Lineside::Cable::IdentifiedUser.new(identified)

  it "is current_user or user, with its id of Lineside" do
    expect(user(tenant: User.new(1), current_user: User.new(7)).id).to eq "7"
    expect(user(current_user: Admin.new(7)).id).to eq "admin-7"
    expect(user(user: "7").id).to eq "7"
    expect(user(current_user: nil, user: 8).id).to eq "8"
    Lineside.config.user_id = ->(user) { "north-#{user.id}" }
    expect(user(current_user: User.new(7)).id).to eq "north-7"
  end

  it "is otherwise the first record of config.lineside.user_class" do
    expect(user(tenant: Tenant.new(1), visitor: User.new(7)).id).to eq "7"
    Lineside.config.user_class = "Admin"
    expect(user(visitor: User.new(7), boss: Admin.new(8)).id).to eq "8"
  end

  it "is nobody for other values, guests and unsaved users" do
    [{}, { uuid: "a-b-c" }, { tenant: Tenant.new(1) }, { current_user: nil }, { current_user: Object.new },
     { current_user: User.new(nil) }, { current_user: "" }, { current_user: true }].each do |identified|
      expect(user(**identified).id).to be_nil
    end
  end

  it "is nobody if the app's rule fails for a guest, which is logged once for the class" do
    stub_const("Guest", Class.new)
    Lineside.config.user_id = ->(user) { user.uuid }
    2.times { expect(user(current_user: Guest.new).id).to be_nil }
    expect(log.string.scan(/does not end connections .* identified by a Guest: undefined method/).size).to eq 1
  end

  it "has the session that identifies the connection" do
    expect(user(current_user: User.new(7), current_session: User.new(3)).session_id).to eq "3"
    expect(user(session: "s").session_id).to eq "s"
    expect(user(current_user: User.new(7)).session_id).to be_nil
    expect(user(session: Object.new).session_id).to be_nil
  end
end
