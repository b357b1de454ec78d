# frozen_string_literal: true

Rails.application.routes.draw do
  root "windows#show"
  resources :ticks, only: :create
  resources :switches, only: :create

  # Two people in one browser: each seat signs in for itself, and its pages are under a path of its own.
  scope "seats/:seat", constraints: { seat: Regexp.union(Seat::NAMES) } do
    get "/", to: "boards#show", as: :board
    resource :session, only: %i[new create destroy]
    resources :posts, only: :create
    resources :notices, only: :create
  end
end
