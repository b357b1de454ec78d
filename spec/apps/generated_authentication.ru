# frozen_string_literal: true

# App with the code that `bin/rails generate authentication` of Rails 8 writes. Environment: DATABASE_URL; INITIALIZER,
# the path of config/initializers/lineside.rb, optional.
require "rails"
require "action_controller/railtie"
require "action_view/railtie"
require "active_record/railtie"
require "lineside"

class Shop < Rails::Application
  config.root = __dir__
  config.load_defaults 6.1
  # The controllers below are defined after the boot.
  config.eager_load = false
  config.secret_key_base = "the key of an app with generated authentication, long enough to derive a secret from"
  config.logger = Logger.new($stdout)
  config.hosts.clear
  config.session_store :cookie_store, key: "shop"

  initializer("shop.initializer", before: :load_config_initializers) { load ENV["INITIALIZER"] if ENV["INITIALIZER"] }

  routes.append do
    resource :session, only: %i[new create destroy]
    resources :orders, only: :index
    resource :home, only: :show
    root to: "homes#show"
  end
end

Shop.initialize!
ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define do
  create_table(:users, if_not_exists: true) { |table| table.string :name }
  create_table(:sessions, if_not_exists: true) { |table| table.references :user }
end

# The rest down to SessionsController is the generated code, without passwords and addresses.
class User < ActiveRecord::Base
  has_many :sessions, dependent: :destroy
end

class Session < ActiveRecord::Base
  belongs_to :user
end

class Current < ActiveSupport::CurrentAttributes
  attribute :session
  delegate :user, to: :session, allow_nil: true
end

module Authentication
  extend ActiveSupport::Concern

  included do
    before_action :require_authentication
    helper_method :authenticated?
  end

  class_methods do
    def allow_unauthenticated_access(**options) = skip_before_action(:require_authentication, **options)
  end

  private

  def authenticated? = resume_session

  def require_authentication = resume_session || request_authentication

  def resume_session = Current.session ||= find_session_by_cookie

  def find_session_by_cookie
    Session.find_by(id: cookies.signed[:session_id]) if cookies.signed[:session_id]
  end

  def request_authentication
    session[:return_to_after_authenticating] = request.url
    redirect_to new_session_path, alert: "Sign in first."
  end

  def after_authentication_url = session.delete(:return_to_after_authenticating) || root_url

  def start_new_session_for(user)
    user.sessions.create!.tap do |session|
      Current.session = session
      cookies.signed.permanent[:session_id] = { value: session.id, httponly: true, same_site: :lax }
    end
  end

  def terminate_session
    Current.session.destroy
    cookies.delete(:session_id)
  end
end

class ApplicationController < ActionController::Base
  include Authentication
end

class SessionsController < ApplicationController
  allow_unauthenticated_access only: %i[new create]

  def new = render(inline: "<%= csrf_meta_tags %><%= lineside_meta_tags %>")

  def create
    start_new_session_for User.find_or_create_by!(name: params[:name])
    redirect_to after_authentication_url
  end

  def destroy
    user, session = Current.user, Current.session # rubocop:disable Style/ParallelAssignment -- as in docs/authentication.md
    terminate_session
    redirect_to new_session_path, status: :see_other
    Lineside.disconnect(user, session:) if params[:disconnect]
  end
end

class OrdersController < ApplicationController
  def index = render(inline: "<%= csrf_meta_tags %><%= lineside_meta_tags channels: ['orders'] %>")
end

class HomesController < ApplicationController
  allow_unauthenticated_access

  def show = render(inline: "<%= csrf_meta_tags %><%= lineside_meta_tags %>")
end

run Rails.application
Rails.application.load_server
