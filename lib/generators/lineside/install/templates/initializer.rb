# frozen_string_literal: true

# Settings of Lineside. All are optional.
Rails.application.configure do
  # Signed-in user of a request, evaluated in the controller. Default: Current.user, else current_user.
  # config.lineside.user = -> { current_user }

  # Grants of every page's token, in addition to the user's own channel and the page's own channels. Evaluated for each
  # token, so a channel that is removed here is no longer granted.
  # config.lineside.token = -> { { channels: ["news"], allow: ["room:*"] } }

  # Whether pages set a cookie that identifies the user, so that `new WebSocket("/lineside")` works without a token.
  # config.lineside.identity_cookie = true

  # Class whose records are identified by their plain id. The id of other records is `<singular>-<id>`.
  # config.lineside.user_class = "User"

  # Other origins whose pages may open the WebSocket. The app's own origin is always allowed.
  # config.lineside.allowed_origins = ["https://www.example.com"]
end
