# frozen_string_literal: true

require "open3"
require "tmpdir"

RSpec.describe "The gem" do
  around { |example| Dir.mktmpdir { |folder| (@folder = folder) && example.run } }

  def run(*command, **env)
    output, status = Open3.capture2e(env.transform_keys(&:to_s), *command, chdir: ROOT)
    expect(status).to be_success, output
    output
  end

  it "prints nothing in an app with path:" do
    File.write("#{@folder}/Gemfile", "gem \"lineside\", path: #{ROOT.inspect}\n")
    # Looks through all gems for a file, as a console does at its start.
    script = 'require "lineside"; Gem::Specification.find_by_path("no_such_file")'
    output = run(RbConfig.ruby, "-rbundler/setup", "-e", script, BUNDLE_GEMFILE: "#{@folder}/Gemfile", RUBYOPT: nil)
    expect(output).to eq ""
  end

  it "has the extension when it is packaged" do
    run("gem", "build", "lineside.gemspec", "--output", "#{@folder}/lineside.gem", RUBYOPT: nil)
    expect(run("gem", "specification", "#{@folder}/lineside.gem", "extensions", RUBYOPT: nil)).to include("extconf.rb")
  end
end
