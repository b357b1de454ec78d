# frozen_string_literal: true

Rails.application.routes.draw do
  root "windows#show"
  resources :ticks, only: :create
  resources :switches, only: :create

  # Two users in one browser: each seat has its own sign-in and its own paths.
  scope "seats/:seat", constraints: { seat: Regexp.union(Seat::NAMES) } do
    get "/", to: "boards#show", as: :board
    resource :session, only: %i[new create destroy]
    resources :posts, only: :create
    resources :notices, only: :create
  end
end
