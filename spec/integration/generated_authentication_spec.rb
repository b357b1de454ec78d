# frozen_string_literal: true

require "json"

# The code of `bin/rails generate authentication` in Rails 8, without any setting of Lineside by default.
RSpec.describe "An app with Rails' generated authentication", :app, :sidecar do
  before do
    start_sidecar
    serve_file("generated_authentication")
  end

  def visitor = Visitor.new(@port)

  # Signs in and shows a page.
  def tab(name = "ada")
    visitor.tap do |tab|
      tab.visit("/session/new")
      tab.post("/session?name=#{name}")
      tab.visit("/orders")
    end
  end

  # Another tab of the same browser, without a page yet.
  def other_tab(tab) = visitor.tap { |other| other.cookies.replace(tab.cookies) }

  def sub(token) = JSON.parse(token.split(".")[1].tr("-_", "+/").unpack1("m"))["sub"]

  it "answers 401 to a signed-out page, and then signs in to the page that the user asked for" do
    tab = tab("ada")
    tab.delete("/session")
    expect([tab.renew, tab.response.code, tab.response["Location"]]).to eq([nil, "401", nil])
    tab.post("/session?name=ada")
    expect(tab.response["Location"]).to eq("http://127.0.0.1:#{@port}/")
    tab.visit("/orders")
    tab.delete("/session")
    tab.get("/orders")
    expect(tab.response["Location"]).to end_with("/session/new")
    expect(tab.renew).to be_nil
    tab.post("/session?name=ada")
    expect(tab.response["Location"]).to end_with("/orders")
  end

  it "gives an open page a token of the user who is signed in now" do
    tab = tab("ada")
    expect(sub(tab.renew["token"])).to eq("1")
    %w[ada grace].each.with_index(1) do |name, id|
      other = other_tab(tab)
      other.visit("/orders")
      other.delete("/session")
      other.post("/session?name=#{name}")
      tab.cookies.replace(other.cookies)
      expect(sub(tab.renew["token"])).to eq(id.to_s)
    end
  end

  # Set-Cookie header of the identity cookie in the last response; nil if there is none.
  def identity(tab) = Array(tab.response.get_fields("Set-Cookie")).grep(/\Alineside/).first

  it "knows the user on a page that needs no sign-in" do
    tab = tab("ada")
    tab.visit("/home")
    expect(sub(tab.meta("lineside-token"))).to eq("1")
    expect(identity(tab)).to match(/\Alineside\w*=ey/)
  end

  it "deletes the identity cookie with the response to the sign-out" do
    ["", "?disconnect=1"].each do |query|
      tab = tab("ada")
      expect(identity(tab)).to match(/\Alineside\w*=ey/)
      tab.delete("/session#{query}")
      expect([tab.response.code, identity(tab)]).to match(["303", /\Alineside\w*=;/])
      tab.visit("/home")
      expect(sub(tab.meta("lineside-token"))).to be_nil
    end
  end

  it "closes the connections of the session alone, with the settings of docs/authentication.md" do
    puma.stop
    settings = File.read(File.join(ROOT, "docs/authentication.md"))[/^## Rails 8\n.*?```ruby\n(.*?)^```/m, 1]
    File.write("#{@folder}/lineside.rb", settings)
    serve_file("generated_authentication", env: { "INITIALIZER" => "#{@folder}/lineside.rb" })
    ended, kept = Array.new(2) { tab("ada") }
    gone, open = [ended, kept].map { |tab| Browser.new(@port, token: tab.renew["token"]).tap { |it| browsers << it } }
    ended.delete("/session?disconnect=1")
    expect { gone.receive("message") }.to raise_error(/4002/)
    Lineside.publish_to("1", "last")
    expect(open.data_until("last")).to eq(["last"])
    expect(sub(kept.renew["token"])).to eq("1")
  end
end
