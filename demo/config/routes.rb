# frozen_string_literal: true

Rails.application.routes.draw do
  root "boards#show"

  resource :session, only: %i[new create destroy]
  resources :posts, only: :create
  resources :notices, only: :create
end
