# frozen_string_literal: true

require "global_id"
require "rack/mock"

RSpec.describe "Connections of Action Cable in another process", :cable_classes do
  # Record with a global id, in place of a table.
  before do
    stub_const("Account", Class.new do
      include GlobalID::Identification
      attr_reader :id

      def initialize(id) = @id = id
      def ==(other) = other.class == self.class && other.id == id
      def self.find(id) = id == "0" ? raise(StandardError, "no database") : new(id)
    end)
    GlobalID.app = "shop"
  end

  let(:websocket) { Lineside::Cable::Connection::Unopened.new("actioncable-v1-json") }
  let(:connections) do
    connection_class do
      identified_by :current_user, :tenant, :kind, :number, :label, :nobody

      def connect = raise("connected again")
      define_method(:current_user=) { |_| raise "written by its writer" }

      public :request
    end
  end

  def identified(**values) = connections.identifiers.to_h { |name| [name, nil] }.merge(values)

  def generate(values = {}, env = {}) = Lineside::Cable::Context.generate(identified(**values), env)

  def rebuild(json) = Lineside::Cable::Context.connection(json, websocket, server: server_of(connections))

  def request(url = "https://shop.example/1234567/cable?a=1", **fields) = Rack::MockRequest.env_for(url, fields)

  it "sets the identifiers, and runs neither connect nor writers" do
    values = { current_user: Account.new("7"), tenant: "north", kind: :admin, number: 42, label: { "a" => [nil, 2.5] } }
    connection = rebuild(generate(values))
    expect(connection).to be_a connections
    expect(Lineside::Cable::Connection.identified(connection)).to eq identified(**values)
    expect(connection.connection_identifier).to eq rebuild(generate(values)).connection_identifier
    expect(connection.protocol).to eq "actioncable-v1-json"
  end

  it "gives the same identifier as remote_connections.where" do
    values = { current_user: Account.new("7"), tenant: "b", kind: :a, number: 1, label: Account.new("1"), nobody: nil }
    remote = ActionCable::RemoteConnections.new(server_of(connections)).where(values)
    expect(rebuild(generate(values)).connection_identifier).to eq remote.connection_identifier
    expect(remote.connection_identifier).to eq ["1", "a", "b", *[7, 1].map { |id| Account.new(id.to_s).to_gid_param }]
      .sort.join(":")
  end

  it "rebuilds the request with its URL, header fields, cookies and address" do
    fields = { "HTTP_COOKIE" => "user=7; name=J\xFCrgen".b, "HTTP_USER_AGENT" => "Firefox", "REMOTE_ADDR" => "10.0.0.1",
               "HTTP_X_FORWARDED_FOR" => "203.0.113.7", "SCRIPT_NAME" => "/1234567", "rack.session" => {},
               "action_dispatch.request.path_parameters" => { account: "1234567" }, "HTTP_UPGRADE" => "websocket" }
    env = request("https://shop.example/cable?a=1", **fields)
    ActionDispatch::RemoteIp.new(->(it) { it }).call(env)
    rebuilt = rebuild(generate({}, env)).request
    expect(rebuilt.url).to eq "https://shop.example/1234567/cable?a=1"
    expect(rebuilt.params).to eq("a" => "1", "account" => "1234567")
    expect([rebuilt.remote_ip, rebuilt.user_agent, rebuilt.ssl?]).to eq ["203.0.113.7", "Firefox", true]
    expect([rebuilt.env["HTTP_COOKIE"], rebuilt.env.key?("HTTP_UPGRADE")]).to eq [fields["HTTP_COOKIE"], false]
  end

  it "rebuilds a request whose address is unknown or contradicts itself" do
    env = request("HTTP_CLIENT_IP" => "203.0.113.8", "HTTP_X_FORWARDED_FOR" => "203.0.113.7")
    ActionDispatch::RemoteIp.new(->(it) { it }).call(env)
    expect(rebuild(generate({}, env)).request.env).not_to have_key("action_dispatch.remote_ip")
  end

  it "sends what the channel transmits to the WebSocket" do
    sent = []
    websocket.define_singleton_method(:transmit) { |json| sent << json }
    rebuild(generate).transmit({ a: 1 })
    expect(sent).to eq ['{"a":1}']
  end

  it "drops the longest header fields above 32 KiB, and logs it once" do
    Lineside::Cable::Context.instance_variable_set(:@logged, nil)
    env = request("HTTP_COOKIE" => "a" * 20_000, "HTTP_X_LONG" => "\"" * 8_000, "HTTP_X_SHORT" => "b")
    2.times do
      context = generate({ tenant: "north" }, env)
      expect(JSON.generate(context).bytesize).to be <= Lineside::Cable::Context::BYTES_MAX
      rebuilt = rebuild(context)
      expect([rebuilt.tenant, *rebuilt.env.values_at("HTTP_X_SHORT", "HTTP_COOKIE")]).to eq ["north", "b", nil]
    end
    expect(log.string.scan(/more than 32768 bytes, so its channels cannot read HTTP_COOKIE/).size).to eq 1
  end

  it "raises if the identifiers are too long" do
    expect { generate({ tenant: "a" * 33_000 }) }
      .to raise_error(Lineside::Cable::Context::Invalid, /more than 32768 bytes: identify connections by records/)
  end

  it "turns other objects into Strings, and logs it once for a class" do
    guest = Struct.new(:name) { def to_s = "guest \xFF" }
    stub_const("Guest", guest)
    2.times { expect(rebuild(generate({ label: Guest.new("x") })).label).to eq "guest \uFFFD" }
    expect(log.string.scan(/identified by a Guest, which becomes the String "guest/).size).to eq 1
  end

  it "raises if a record no longer exists, and passes on other errors" do
    gone = stub_const("RecordNotFound", Class.new(StandardError))
    json = generate({ current_user: Account.new("0") })
    expect { rebuild(json) }.to raise_error(StandardError, "no database")
    allow(Account).to receive(:find).and_raise(gone)
    expect { rebuild(json) }.to raise_error(Lineside::Cable::Context::Invalid, %r{gid://shop/Account/0.* no longer})
  end
end
