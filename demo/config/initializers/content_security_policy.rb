# frozen_string_literal: true

# Allows the demo's own origin only. That includes the WebSocket, which is on the app's port.
Rails.application.config.content_security_policy do |policy|
  policy.default_src :none
  policy.script_src :self
  policy.style_src :self
  policy.img_src :self
  policy.connect_src :self
  policy.frame_src :self
  policy.form_action :self
  policy.base_uri :none
  policy.frame_ancestors :self
end

# Allows the import map of the pages with Turbo, and the styles of Turbo's progress bar.
Rails.application.config.content_security_policy_nonce_generator = ->(_request) { SecureRandom.base64(16) }
Rails.application.config.content_security_policy_nonce_directives = %w[script-src style-src]
