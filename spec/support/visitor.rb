# frozen_string_literal: true

require "cgi"
require "json"
require "net/http"

# HTTP client of a Rails app that keeps cookies, in place of a browser.
class Visitor
  # @return [Net::HTTPResponse] the last response
  attr_reader :response

  # @return [Hash{String => String}] the cookies
  attr_reader :cookies

  def initialize(port)
    @port = port
    @cookies = {}
  end

  def get(path, headers = {}) = request(Net::HTTP::Get.new(path, headers))

  # Sends a POST like the page's script, with the page's CSRF token by default.
  def post(path, csrf: meta("csrf-token"), **form)
    post = Net::HTTP::Post.new(path, csrf ? { "X-CSRF-Token" => csrf } : {})
    post.set_form_data(form) unless form.empty?
    request(post)
  end

  # Sends a DELETE like a form of the page.
  def delete(path) = request(Net::HTTP::Delete.new(path, { "X-CSRF-Token" => meta("csrf-token").to_s }))

  # Gets a page and stores it for {#meta}.
  def visit(path)
    @page = get(path).body
    raise "#{path} answered #{response.code}: #{@page}" unless response.is_a?(Net::HTTPOK)
  end

  # Content of a `<meta>` tag of the page; nil if there is none with the name.
  def meta(name)
    tag = @page.to_s[/<meta [^>]*name="#{name}"[^>]*>/] or return
    CGI.unescapeHTML(tag[/content="([^"]*)"/, 1])
  end

  # Requests a fresh token like the page's script.
  # @return [Hash, nil] nil if there is none
  def renew
    post(meta("lineside-token-url"), **{ lineside_permit: meta("lineside-permit") }.compact)
    JSON.parse(response.body) if response.is_a?(Net::HTTPOK)
  end

  private

  def request(request)
    request["Cookie"] = @cookies.map { |pair| pair.join("=") }.join("; ")
    request["Accept"] = "application/json" if request.is_a?(Net::HTTP::Post)
    @response = Net::HTTP.start("127.0.0.1", @port) { |http| http.request(request) }
    Array(@response.get_fields("Set-Cookie")).each { |cookie| keep(*cookie[/\A[^;]*/].split("=", 2)) }
    @response
  end

  # Rails deletes a cookie by an empty value.
  def keep(name, value) = value.empty? ? @cookies.delete(name) : @cookies.store(name, value)
end
