# frozen_string_literal: true

require "digest"
require "fileutils"
require "tmpdir"

# An app as `rails new` makes it, in a folder of its own, that runs on the gems of this checkout.
module GeneratedApps
  # Made once, and copied for each example.
  def self.original
    @original ||= Dir.mktmpdir("lineside-app").tap do |folder|
      at_exit { FileUtils.remove_entry(folder) }
      system(environment, "rails", "new", "#{folder}/shop", "--minimal", "--skip-bundle", "--skip-git", "--quiet",
             out: File::NULL, err: File::NULL) or raise "rails new failed"
      # Rails' own gems that this checkout does not ask for.
      Dir.glob("#{folder}/shop/config/environments/*.rb").each do |file|
        File.write(file, File.read(file).gsub(/^.*(EventedFileUpdateChecker|web_console|byebug).*$/, ""))
      end
    end
  end

  def self.environment
    # The group in which this checkout's Gemfile has all that an app needs, in production too.
    { "BUNDLE_GEMFILE" => File.join(ROOT, "Gemfile"), "RAILS_GROUPS" => "development", "RAILS_ENV" => "development",
      "SECRET_KEY_BASE" => nil }
  end

  def self.included(group)
    group.before do
      @apps_folder = Dir.mktmpdir("lineside-app")
      FileUtils.cp_r("#{GeneratedApps.original}/shop", @apps_folder)
    end
    group.after do
      started.each(&:stop)
      FileUtils.remove_entry(@apps_folder)
    end
  end

  def app_path(file = "") = File.join(@apps_folder, "shop", file)

  def app_file(file) = File.read(app_path(file))

  def write_app_file(file, text)
    FileUtils.mkdir_p(File.dirname(app_path(file)))
    File.write(app_path(file), text)
  end

  # Runs `bin/rails` in it.
  # @return [String] its output
  def rails(*arguments, env: {}, exits: 0)
    output, status = Open3.capture2e({ **GeneratedApps.environment, **env }, RbConfig.ruby, "bin/rails", *arguments,
                                     chdir: app_path)
    raise "bin/rails #{arguments.join(' ')} ended with #{status}:\n#{output}" unless status.exitstatus == exits

    output
  end

  # What each of its files holds.
  def app_digests
    files = Dir.glob("#{app_path}/{app,config,Procfile*}/**/*", File::FNM_DOTMATCH) | Dir.glob("#{app_path}/*")
    files.select { |file| File.file?(file) }.to_h { |file| [file, Digest::SHA256.file(file).hexdigest] }
  end
end
