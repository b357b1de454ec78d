# frozen_string_literal: true

RSpec.describe "A browser module in an app's asset pipeline", :generated_app do
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
    names = %w[lineside lineside/turbo]
    script = "puts #{names}.map { |name| ActionController::Base.helpers.asset_path(\"\#{name}.js\") }"
    paths = rails("runner", script, env: production).split
    names.zip(paths) do |name, path|
      expect(path).to match(%r{\A/assets/#{name}-\h{8,}\.js\z})
      # Sprockets appends a semicolon to a script without one.
      files = [app_path("public#{path}"), File.join(ROOT, "app/assets/javascripts/#{name}.js")]
      expect(files.map { |file| File.read(file).sub(/(;?\n)+\z/, "") }.uniq.size).to eq 1
    end
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
