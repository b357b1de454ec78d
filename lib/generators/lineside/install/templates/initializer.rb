# frozen_string_literal: true

# Lineside's settings, all of which may be left out. Each is also a variable, LINESIDE_<NAME>, which wins; the README
# lists them.
Rails.application.configure do
  # Who a request comes from; called in its controller. Without it: Current.user, else current_user.
  # config.lineside.user = -> { current_user }

  # What the token of every page opens, beside the user's own channel and what the page names itself. It is asked again
  # for each fresh token, so take away here what a user may no longer read.
  # config.lineside.token = -> { { channels: ["news"], allow: ["room:*"] } }

  # Whether pages set the cookie by which `new WebSocket("/lineside")` is its user's, without a token.
  # config.lineside.identity_cookie = true

  # The class whose records are users by their plain id; records of other classes are `<singular>-<id>`.
  # config.lineside.user_class = "User"

  # Pages of other origins that may open the socket. The app's own always may.
  # config.lineside.allowed_origins = ["https://www.example.com"]
end
