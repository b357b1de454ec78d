# frozen_string_literal: true

require "digest"
require "fileutils"
require "tmpdir"

# App from `rails new` in a temporary folder, run with the Gemfile of this checkout.
module GeneratedApps
  # Folder of the app, generated once and copied for each example.
  def self.original
    @original ||= Dir.mktmpdir("lineside-app").tap do |folder|
      at_exit { FileUtils.remove_entry(folder) }
      system(environment, "rails", "new", "#{folder}/shop", "--minimal", "--skip-bundle", "--skip-git", "--quiet",
             out: File::NULL, err: File::NULL) or raise "rails new failed"
      # Removes settings of gems that are not in the Gemfile of this checkout.
      Dir.glob("#{folder}/shop/config/environments/*.rb").each do |file|
        File.write(file, File.read(file).gsub(/^.*(EventedFileUpdateChecker|web_console|byebug).*$/, ""))
      end
    end
  end

  def self.environment
    # The Gemfile of this checkout has Rails in the group development, so production loads that group too.
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

  # Runs `bin/rails` in the app.
  # @param exits [Integer, nil] expected exit status; nil for any
  # @return [String] its output
  def rails(*arguments, env: {}, exits: 0)
    output, status = Open3.capture2e({ **GeneratedApps.environment, **env }, RbConfig.ruby, "bin/rails", *arguments,
                                     chdir: app_path)
    return output if exits.nil? || status.exitstatus == exits

    raise "bin/rails #{arguments.join(' ')} ended with #{status}:\n#{output}"
  end

  # Digests of the app's files.
  def app_digests
    files = Dir.glob("#{app_path}/{app,config,Procfile*}/**/*", File::FNM_DOTMATCH) | Dir.glob("#{app_path}/*")
    files.select { |file| File.file?(file) }.to_h { |file| [file, Digest::SHA256.file(file).hexdigest] }
  end
end
