# frozen_string_literal: true

require "cgi"
require "json"
require "net/http"

# A person at a Rails app: pages over HTTP, with the cookies of a browser.
class Visitor
  # @return [Net::HTTPResponse] the last answer
  attr_reader :response

  # @return [Hash{String => String}] the cookies
  attr_reader :cookies

  def initialize(port)
    @port = port
    @cookies = {}
  end

  def get(path, headers = {}) = request(Net::HTTP::Get.new(path, headers))

  # As a page's script does: with the page's CSRF token unless another is given.
  def post(path, csrf: meta("csrf-token")) = request(Net::HTTP::Post.new(path, csrf ? { "X-CSRF-Token" => csrf } : {}))

  # Opens a page, and keeps it.
  def visit(path)
    @page = get(path).body
    raise "#{path} answered #{response.code}: #{@page}" unless response.is_a?(Net::HTTPOK)
  end

  # What the page says in a `<meta>` tag; nil when it has none of that name.
  def meta(name)
    tag = @page[/<meta [^>]*name="#{name}"[^>]*>/] or return
    CGI.unescapeHTML(tag[/content="([^"]*)"/, 1])
  end

  # Fetches a fresh token as the page's script does.
  # @return [Hash, nil] nil when it gets none
  def renew
    post(meta("lineside-token-url"))
    JSON.parse(response.body) if response.is_a?(Net::HTTPOK)
  end

  private

  def request(request)
    request["Cookie"] = @cookies.map { |pair| pair.join("=") }.join("; ")
    request["Accept"] = "application/json" if request.is_a?(Net::HTTP::Post)
    @response = Net::HTTP.start("127.0.0.1", @port) { |http| http.request(request) }
    Array(@response.get_fields("Set-Cookie")).each { |cookie| @cookies.store(*cookie[/\A[^;]*/].split("=", 2)) }
    @response
  end
end
