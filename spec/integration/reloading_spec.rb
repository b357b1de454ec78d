# frozen_string_literal: true

require "tmpdir"

RSpec.describe "Code reloading in development" do
  around { |example| Dir.mktmpdir("lineside-app") { |root| (@root = root) && example.run } }

  # App whose controllers and user are loaded again when their files change.
  let(:app) { <<~'RUBY' }
    require "rails"
    require "action_controller/railtie"
    require "active_model"
    require "lineside"
    require "rack/mock"
    class Shop < Rails::Application
      config.root = ENV.fetch("APP_ROOT")
      config.eager_load = config.cache_classes = false
      config.logger = Logger.new(nil)
      config.hosts.clear
      config.secret_key_base = "the key of an app that is loaded again and again"
      config.lineside.user_class = "Account"
      config.lineside.parent_controller = "BaseController" if ENV["PARENT"]
      config.lineside.user = -> { account }
    end
    def write(parent, id)
      File.write("#{Shop.config.root}/app/models/account.rb",
                 "class Account < Struct.new(:by)\nextend ActiveModel::Naming\ndef id = \"\#{by}-#{id}\"\nend")
      File.write("#{Shop.config.root}/app/controllers/base_controller.rb",
                 "class BaseController < ActionController::Base\ndef account = Account.new(#{id.inspect})\nend")
      File.write("#{Shop.config.root}/app/controllers/application_controller.rb",
                 "class ApplicationController < #{parent}\ndef account = Account.new(#{id.inspect})\nend")
    end
    write("ActionController::Base", "first")
    Shop.initialize!
    ask = lambda do
      response = Rack::MockRequest.new(Shop).post("/lineside/token")
      token = JSON.parse(response.body)["token"].split(".")[1]
      cookie = response["Set-Cookie"].to_s.include?("lineside")
      print JSON.parse(token.tr("-_", "+/").unpack1("m"))["sub"], " ", cookie, " "
    end
    ask.call
    write("BaseController", "second")
    Shop.reloader.reload!
    ask.call
  RUBY

  it "gives the token endpoint the new controller and user, also with a parent_controller" do
    %w[models controllers].each { |folder| FileUtils.mkdir_p("#{@root}/app/#{folder}") }
    [nil, "1"].each do |parent|
      env = { "RAILS_ENV" => "development", "APP_ROOT" => @root, "PARENT" => parent }
      expect(ruby(app, env:)).to eq "first-first true second-second true "
    end
  end
end
