# frozen_string_literal: true

# Everything comes from the demo itself, its socket too: that is on the app's own port.
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
