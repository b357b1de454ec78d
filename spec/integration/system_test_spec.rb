# frozen_string_literal: true

RSpec.describe "System tests" do
  # Runs a file of spec/apps to its end. Its sidecars must have ended too.
  def run_tests(*command)
    folders = Dir.glob(File.join(Dir.tmpdir, "lineside*/link"))
    process = start([RbConfig.ruby, "-I", Processes::LIBRARY, *command], chdir: ROOT)
    process.wait
    expect(Dir.glob(File.join(Dir.tmpdir, "lineside*/link")) - folders).to eq []
    process.output
  end

  def app(file) = File.join(ROOT, "spec/apps", file)

  it "pass in Chromium without a sleep in 200 rounds, and name pages that are busy" do
    expect(run_tests(app("system_tests.rb"))).to match(/^12 runs, \d+ assertions, 0 failures, 0 errors, 0 skips$/)
  end

  it "have a sidecar for each parallel worker" do
    output = run_tests(app("parallel_system_tests.rb"))
    expect(output).to match(/^2 runs, 2 assertions, 0 failures, 0 errors, 0 skips$/)
    found = output.scan(/process (\d+) of epoch (\h+)/)
    expect(found.transpose.map { |values| values.uniq.size }).to eq [2, 2]
  end

  it "work in RSpec" do
    output = run_tests("-S", "rspec", "--options", File::NULL, app("system_examples.rb"))
    expect(output).to match(/^3 examples, 0 failures$/)
  end

  it "fail with the sidecar's own words if it does not start" do
    output = ruby(<<~RUBY, env: { "LINESIDE_BINARY" => "/bin/false", "RAILS_ENV" => "test" })
      require "lineside/system_test"
      begin
        Lineside::SystemTest.enter
      rescue Lineside::Error => e
        puts e.message
      end
    RUBY
    expect(output).to match(/the sidecar of the system tests ended with pid \d+ exit 1/)
  end
end
