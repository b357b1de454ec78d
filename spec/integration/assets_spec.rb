# frozen_string_literal: true

RSpec.describe "lineside.js in an app's asset pipeline", :generated_app do
  it "is served unchanged under its digest in production" do
    production = { "RAILS_ENV" => "production", "SECRET_KEY_BASE" => "k" * 64 }
    rails("assets:precompile", env: production)
    path = rails("runner", "print ActionController::Base.helpers.asset_path('lineside.js')", env: production)
    expect(path).to match(%r{\A/assets/lineside-\h{8,}\.js\z})
    module_file = File.join(ROOT, "app/assets/javascripts/lineside.js")
    # Sprockets appends a semicolon to each script.
    expect(app_file("public#{path}").delete_suffix(";\n")).to eq File.read(module_file)
  end
end
