# frozen_string_literal: true

RSpec.describe "lineside.js in an app's asset pipeline", :generated_app do
  it "is compiled for production under its digest, as it is" do
    production = { "RAILS_ENV" => "production", "SECRET_KEY_BASE" => "k" * 64 }
    rails("assets:precompile", env: production)
    path = rails("runner", "print ActionController::Base.helpers.asset_path('lineside.js')", env: production)
    expect(path).to match(%r{\A/assets/lineside-\h{8,}\.js\z})
    module_file = File.join(ROOT, "app/assets/javascripts/lineside.js")
    # Sprockets ends each script with a semicolon.
    expect(app_file("public#{path}").delete_suffix(";\n")).to eq File.read(module_file)
  end
end
