# frozen_string_literal: true

RSpec.describe "lineside.js in an app's asset pipeline", :generated_app do
  # Compressor that reads no ES modules.
  def write_uglifier
    write_app_file "config/initializers/assets.rb", <<~RUBY
      class Uglifier
        def compress(source) = source.match?(/^export /) ? raise("Unexpected token: export") : source
      end
      Rails.application.config.assets.js_compressor = Uglifier.new if Rails.application.config.respond_to?(:assets)
    RUBY
  end

  it "is served unchanged under its digest in production" do
    production = { "RAILS_ENV" => "production", "SECRET_KEY_BASE" => "k" * 64 }
    rails("assets:precompile", env: production)
    path = rails("runner", "print ActionController::Base.helpers.asset_path('lineside.js')", env: production)
    expect(path).to match(%r{\A/assets/lineside-\h{8,}\.js\z})
    module_file = File.join(ROOT, "app/assets/javascripts/lineside.js")
    # Sprockets appends a semicolon to each script.
    expect(app_file("public#{path}").delete_suffix(";\n")).to eq File.read(module_file)
  end

  it "is left out if the compressor reads no modules, unless the app pins it" do
    skip "Propshaft has no compressor" unless Gem.loaded_specs.key?("sprockets")
    write_uglifier
    production = { "RAILS_ENV" => "production", "SECRET_KEY_BASE" => "k" * 64 }
    rails("assets:precompile", env: production)
    expect(Dir.glob(app_path("public/assets/lineside-*"))).to eq []
    write_app_file "config/importmap.rb", "pin(\"lineside\")\n"
    expect(rails("assets:precompile", env: production, exits: 1)).to include("Unexpected token: export")
  end
end
