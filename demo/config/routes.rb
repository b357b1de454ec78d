# frozen_string_literal: true

Rails.application.routes.draw do
  # The window with Lineside's module in the pages of the users, and windows with Turbo: with `lineside/turbo`, or with
  # stock clients only.
  pages = /turbo|stock/
  root "windows#show"
  get ":page", to: "windows#show", as: :window, constraints: { page: pages }
  resources :ticks, only: :create
  resources :switches, only: :create

  # Two users in one browser: each seat has its own sign-in and its own paths.
  scope "seats/:seat(/:page)", constraints: { seat: Regexp.union(Seat::NAMES), page: pages } do
    get "/", to: "boards#show", as: :board
    resource :session, only: %i[new create destroy]
    resources :posts, only: :create
    resources :notices, only: :create
  end
end
