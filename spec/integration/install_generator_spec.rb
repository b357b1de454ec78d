# frozen_string_literal: true

require "yaml"

RSpec.describe "bin/rails generate lineside:install", :generated_app do
  let(:layout) { "app/views/layouts/application.html.erb" }

  def install = rails("generate", "lineside:install")

  it "makes a new app deliver, with the sidecar in Puma" do
    output = install
    expect(app_file("config/puma.rb")).to end_with("plugin :lineside\n")
    expect(app_file(layout)).to match(/csp_meta_tag.*\n    <%= lineside_meta_tags %>\n/)
    expect(output).to match(/append\s+config.puma\.rb.*create\s+config.initializers.lineside\.rb.*Next steps/m)
      .and match(/\* to keep connections open .* \* set config\.lineside\.user in .*quick-start\.md has a whole page/m)
    write_app_file "config/routes.rb", <<~RUBY
      Rails.application.routes.draw { root to: "pages#show" }
    RUBY
    write_app_file "app/controllers/pages_controller.rb", <<~RUBY
      class PagesController < ApplicationController
        def show
          Lineside.publish("orders", params[:order]) if params[:order]
          @channels = ["orders"]
          render html: "", layout: true
        end
      end
    RUBY
    write_app_file layout, app_file(layout).sub("lineside_meta_tags", "lineside_meta_tags channels: @channels")
    expect_delivery(start_app)
  end

  # Starts `rails server` with a sidecar.
  # @return [Integer] the port
  def start_app
    env = { **GeneratedApps.environment, "LINESIDE_BIND" => "127.0.0.1:0" }
    server = start([env, RbConfig.ruby, "bin/rails", "server", "-p", "0"], chdir: app_path)
    server.written(/event=listening/)
    Integer(server.written(%r{Listening on http://127\.0\.0\.1:(\d+)})[1])
  end

  # Checks that a browser receives what another page view publishes.
  def expect_delivery(port)
    visitor = Visitor.new(port)
    visitor.visit("/")
    browser = Browser.new(port, token: visitor.meta("lineside-token"), after: visitor.meta("lineside-cursor"))
    visitor.visit("/?order=7")
    expect(browser.data_until("7")).to eq ["7"]
    browser.close
  end

  it "changes nothing when it runs again" do
    install
    initializer = "config/initializers/lineside.rb"
    write_app_file initializer, app_file(initializer).sub("# config.lineside.user =", "config.lineside.user =")
    before = app_digests
    output = install
    expect(output).to match(/identical\s+config.puma\.rb/)
    expect(output).not_to include("set config.lineside.user")
    expect(app_digests).to eq before
  end

  it "writes the rule of the user for the app's authentication" do
    {
      { "app/controllers/concerns/authentication.rb" => "def authenticated?\nend" } =>
        ["config.lineside.user = -> { Current.user if authenticated? }",
         "config.lineside.token = -> { { session: Current.session } if authenticated? }"],
      { "config/initializers/sorcery.rb" => "# Sorcery" } => ["config.lineside.user = -> { current_user }"],
      { "config/initializers/devise.rb" => "# Devise", "config/routes.rb" => "  devise_for :members\n" } =>
        ["config.lineside.user = -> { current_member }", 'config.lineside.user_class = "Member"']
    }.each do |files, settings|
      folder = Dir.mktmpdir("app", @apps_folder)
      files.each do |file, text|
        FileUtils.mkdir_p(File.dirname("#{folder}/#{file}"))
        File.write("#{folder}/#{file}", text)
      end
      expect(generate(folder)).not_to include("set config.lineside.user")
      initializer = File.read("#{folder}/config/initializers/lineside.rb")
      expect(initializer.lines.grep(/^  config/).map(&:strip)).to eq settings
      expect(initializer.include?("before_logout(scope: :member)")).to eq files.key?("config/initializers/devise.rb")
      RubyVM::InstructionSequence.compile(initializer)
    end
  end

  # Runs the generator alone, in a folder that is no app.
  def generate(folder)
    ruby(<<~RUBY)
      require "rails"
      require "lineside"
      require "generators/lineside/install/install_generator"
      Lineside::Generators::InstallGenerator.start([], destination_root: #{folder.inspect})
    RUBY
  end

  it "keeps entries that are written in another way" do
    FileUtils.rm(app_path(layout))
    files = { "config/puma.rb" => "plugin 'lineside'\n", "config/importmap.rb" => "pin('lineside')\n",
              "app/views/layouts/application.html.haml" => "%head\n  = lineside_meta_tags\n" }
    files.each { |file, text| write_app_file file, text }
    expect(generate(app_path)).to match(/identical .*application.html.haml/).and not_to_call_for_tags
    expect(files.keys.to_h { |file| [file, app_file(file)] }).to eq files
  end

  def not_to_call_for_tags = satisfy { |output| !output.include?("call lineside_meta_tags") }

  it "names the token for an API" do
    folder = Dir.mktmpdir("app", @apps_folder)
    expect(generate(folder)).to include("call lineside_meta_tags", "* or, if the app is an API, answer its clients")
  end

  it "adds the tags inside the head alone, without blank lines" do
    { "<html>\r\n  <head>\r\n\r\n    <%= csp_meta_tag %>\r\n" => /csp_meta_tag %>\r\n    <%= lineside_meta_tags %>\n\z/,
      "<html><head><title></title></head>\n<body></body></html>\n" => %r{</head>\n<body></body></html>\n\z} }
      .each do |before, after|
        write_app_file layout, before
        generate(app_path)
        expect(app_file(layout)).to match(after)
      end
  end

  it "removes everything that it added when it is destroyed" do
    write_app_file "config/importmap.rb", "pin \"application\"\n"
    [nil, "web: bin/rails server\n"].each do |procfile|
      write_app_file "Procfile.dev", procfile if procfile
      before = app_digests
      install
      expect(app_digests).not_to eq before
      output = rails("destroy", "lineside:install")
      expect(output).to match(/is removed from these files.*remove gem "lineside" from the Gemfile/m)
      expect(output).not_to include("Lineside is installed")
      expect(app_digests).to eq before
      rails("destroy", "lineside:install")
      expect(app_digests).to eq before
    end
  end

  it "removes tags and lines that the user has changed or moved" do
    install
    write_app_file layout, app_file(layout).sub("lineside_meta_tags", 'lineside_meta_tags channels: ["orders"]')
    write_app_file "config/puma.rb", app_file("config/puma.rb").sub("\n# Runs", "# Runs").concat("# end\n")
    rails("destroy", "lineside:install")
    [layout, "config/puma.rb"].each { |file| expect(app_file(file)).not_to include("lineside") }
    write_app_file layout, "<head><%= content_for(:lineside) || lineside_meta_tags %></head>\n"
    expect(rails("destroy", "lineside:install")).to include("* remove lineside_meta_tags from #{layout}")
  end

  describe "in an app with Hotwire" do
    # Files of an app as `rails new` writes them, and the authentication of Rails 8.
    let(:files) do
      { "config/cable.yml" => <<~YAML, "config/importmap.rb" => <<~RUBY, "app/javascript/application.js" => <<~JS,
        default: &default
          adapter: redis
          url: <%= ENV["REDIS_URL"] %>

        development:
          <<: *default

        test:
          adapter: test

        production:
          adapter: solid_cable # rows
          connects_to:
            database:
              writing: cable
      YAML
        pin "application"
        pin "@hotwired/turbo-rails", to: "turbo.min.js"
      RUBY
        // Configure your import map in config/importmap.rb.
        import "@hotwired/turbo-rails"
        import "controllers"
      JS
        "app/controllers/concerns/authentication.rb" => <<~RUBY }
          module Authentication
            private
              def authenticated?
                resume_session
              end

              def terminate_session
                Current.session.destroy
                cookies.delete(:session_id)
              end
          end
        RUBY
    end

    before { files.each { |file, text| write_app_file file, text } }

    it "sets the adapter, imports the module and ends connections at sign-out" do
      install
      cable = YAML.safe_load(app_file("config/cable.yml"), aliases: true)
      expect(cable.transform_values { |it| it["adapter"] })
        .to eq("default" => "redis", "development" => "lineside", "test" => "test", "production" => "lineside")
      expect(app_file("config/importmap.rb")).to end_with("pin \"lineside\"\npin \"lineside/turbo\"\n")
      expect(app_file("app/javascript/application.js"))
        .to include("import \"@hotwired/turbo-rails\"\nimport \"lineside/turbo\"\nimport \"controllers\"")
      expect(app_file("app/controllers/concerns/authentication.rb"))
        .to match(/terminate_session\n +Lineside\.disconnect\(Current\.user, session: Current\.session\)\n +Current\./)
    end

    it "changes nothing when it runs again, and nothing is left when it is destroyed" do
      before = app_digests
      install
      installed = app_digests
      expect(install).to match(/identical +config.cable\.yml/)
      expect(app_digests).to eq installed
      rails("destroy", "lineside:install")
      expect(app_digests).to eq before
    end

    it "imports the module once in a script that imports turbo-rails twice" do
      write_app_file "app/javascript/application.js",
                     "import \"@hotwired/turbo-rails\"\nimport { cable } from \"@hotwired/turbo-rails\"\n"
      before = app_digests
      install
      expect(app_file("app/javascript/application.js").scan("lineside/turbo").size).to eq 1
      rails("destroy", "lineside:install")
      expect(app_digests).to eq before
    end

    it "sets the adapter of the app's other environments" do
      %w[staging ci].each { |name| write_app_file "config/environments/#{name}.rb", "" }
      write_app_file "config/cable.yml", "development:\n  adapter: async\nci:\n  adapter: test\n" \
                                         "staging:\n  adapter: redis\nproduction:\n  adapter: redis\n"
      install
      expect(YAML.safe_load(app_file("config/cable.yml")).transform_values { |it| it["adapter"] })
        .to eq("development" => "lineside", "ci" => "test", "staging" => "lineside", "production" => "lineside")
    end

    it "copies the module for a bundler" do
      FileUtils.rm(app_path("config/importmap.rb"))
      write_app_file "package.json", '{ "dependencies": { "@hotwired/turbo-rails": "8" } }'
      before = app_digests
      install
      expect(app_file("app/javascript/lineside/turbo.js"))
        .to eq File.read(File.join(ROOT, "app/assets/javascripts/lineside/turbo.js"))
      expect(app_file("app/javascript/application.js")).to include("\nimport \"./lineside/turbo\"\n")
      rails("destroy", "lineside:install")
      expect(app_digests).to eq before
    end

    it "names what it cannot set" do
      write_app_file "config/cable.yml", "development: { adapter: async }\n"
      write_app_file "app/controllers/concerns/authentication.rb", "def authenticated?\nend\n"
      expect(install).to include("* set adapter: lineside in config/cable.yml for development and production",
                                 "* call Lineside.disconnect(user) where the app signs users out")
    end
  end

  it "adds the sidecar to an existing Procfile.dev and pins the module" do
    write_app_file "Procfile.dev", "web: bin/rails server"
    write_app_file "config/importmap.rb", "pin \"application\"\n"
    puma = app_file("config/puma.rb")
    install
    expect(app_file("Procfile.dev")).to eq "web: bin/rails server\nlineside: bundle exec lineside\n"
    expect(app_file("config/importmap.rb")).to eq "pin \"application\"\npin \"lineside\"\n"
    expect(app_file("config/puma.rb")).to eq puma
    before = app_digests
    install
    expect(app_digests).to eq before
  end

  it "prints the remaining steps without a layout and without Puma" do
    FileUtils.rm([app_path("config/puma.rb"), app_path(layout)])
    expect(install)
      .to match(/\* start the sidecar together with the app: bundle exec lineside\n  \* call lineside_meta_tags/)
    write_app_file layout, "<html><head>\n</head></html>\n"
    install
    expect(app_file(layout)).to eq "<html><head>\n  <%= lineside_meta_tags %>\n</head></html>\n"
  end
end
