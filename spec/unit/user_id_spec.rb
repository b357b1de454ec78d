# frozen_string_literal: true

require "delegate"

# Records with the interface of Active Record.
class Person < Struct.new(:id, :new_record?) # rubocop:disable Style/StructInheritance -- subclasses need a name
  def self.base_class = Person
  def self.model_name = Struct.new(:name).new(name)
  def to_model = self
end

class Employee < Person; end

class Gadget < Struct.new(:id) # rubocop:disable Style/StructInheritance -- the same
  def self.model_name = Struct.new(:name).new(name)
end

class PersonGadget < Gadget; end
class APIGadget < Gadget; end
class ApiGadget < Gadget; end

module Nested
  class Person < Gadget; end
end

class NestedPerson < Gadget; end

# Decorator whose class has the name of its model.
class PersonCard < SimpleDelegator
  def self.model_name = Person.model_name
  def to_model = self
end

RSpec.describe Lineside::UserId do
  let(:config) do
    Lineside::Configuration.new.tap { |config| config.assign(user_class: "Person", logger: Logger.new(log)) }
  end

  def id(user) = described_class.of(user, config)

  it "accepts a String and an Integer unchanged" do
    expect([id("42"), id(42), id("a:b"), id("été")]).to eq(["42", "42", "a:b", "été"])
  end

  it "accepts the id of a record of user_class and its subclasses" do
    expect([id(Person.new(42)), id(Employee.new(42))]).to eq(%w[42 42])
    config.user_class = Employee
    expect([id(Person.new(42)), id(Employee.new(42))]).to eq(%w[42 42])
  end

  it "prefixes the id of other records with their kind" do
    expect(id(Gadget.new(42))).to eq("gadget-42")
    config.user_class = "Gadget"
    expect([id(Gadget.new(42)), id(Employee.new(42))]).to eq(%w[42 person-42])
  end

  it "is different for classes with similar names" do
    classes = [Gadget, PersonGadget, Nested::Person, NestedPerson, APIGadget, ApiGadget]
    ids = %w[gadget-7 person_gadget-7 nested/person-7 nested_person-7 APIGadget-7 api_gadget-7]
    expect(classes.map { |kind| id(kind.new(7)) }).to eq(ids)
  end

  it "is that of the record in a SimpleDelegator, and in a decorator with its model_name" do
    expect([SimpleDelegator, PersonCard].map { |wrapper| id(wrapper.new(Employee.new(42))) }).to eq(%w[42 42])
    config.user_class = "Gadget"
    expect([SimpleDelegator, PersonCard].map { |wrapper| id(wrapper.new(Employee.new(42))) })
      .to eq(%w[person-42 person-42])
  end

  it "refuses the key of a user that is the id of another record" do
    ["gadget-7", "gadget-", "nested/person-x", "APIGadget-7"].each do |key|
      expect { id(Person.new(key)) }.to raise_error(ArgumentError, /can be that of a .*config\.lineside\.user_id/)
    end
    ["person-7", "string-7", "gadget7", "abcdef12-3b21-4f0e-9a50-1c2d3e4f5a6b", "Object-7", "-7", "nowhere/person-7",
     "gadget_-7", "été-7", "A B-7", "a//b-7", "_-7"]
      .each { |key| expect(id(Person.new(key))).to eq(key) }
  end

  it "logs once that a record of a class that does not sign in is taken for a user, except in production" do
    member = Class.new(Gadget) { def self.name = "Member#{object_id}" }
    admin = Class.new(member) { def authenticate(_password) = true }
    config.app_environment = "production"
    id(member.new(7))
    config.app_environment = "development"
    id(admin.new(7))
    expect(log.string).to eq("")
    3.times { id(member.new(7)) }
    expect(log.string.scan(/as the user "member\d+-7", beside the records of Person.*call publish/).size).to eq(1)
  end

  it "is replaced by config.user_id" do
    config.user_id = ->(user) { "acme-#{user.id}" }
    expect(id(Person.new(42))).to eq("acme-42")
    config.user_id = ->(_user) {}
    expect { id(Person.new(42)) }.to raise_error(ArgumentError, /blank/)
  end

  it "refuses nil, blank and unsaved users" do
    [nil, "", " ", "\u00A0", Person.new(nil), Person.new(""), Person.new(7, true)].each do |user|
      expect { id(user) }.to raise_error(ArgumentError)
    end
  end

  it "refuses objects without an id, and unknown classes" do
    [Object.new, [1], { id: 1 }, :symbol].each do |user|
      expect { id(user) }.to raise_error(ArgumentError, /is no user/)
    end
    expect { id(Struct.new(:id).new(7)) }.to raise_error(ArgumentError, /config\.user_id/)
  end

  it "refuses an id that is invalid in a channel's name" do
    { "*" => /\*/, "a\n" => /control/, "x" * 251 => /251 bytes/, "\xFF" => /UTF-8/,
      "é".encode("ISO-8859-1") => /ISO-8859-1/ }.each do |user, problem|
      expect { id(user) }.to raise_error(ArgumentError, problem)
    end
    expect(id("x" * 250)).to eq("x" * 250)
  end
end
