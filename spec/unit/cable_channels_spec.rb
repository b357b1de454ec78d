# frozen_string_literal: true

require "tmpdir"

RSpec.describe "Classification of Action Cable's channels", :cable_classes do
  def channel(name, parent = ActionCable::Channel::Base, &) = stub_const(name, Class.new(parent, &))

  def classify(*channels, connection: connection_class) = Lineside::Cable::Channels.new(channels, connection)

  # Reason why the app decides a stock Turbo::StreamsChannel that the block has changed.
  def reason(connection: connection_class)
    turbo = load_turbo
    yield turbo
    found = classify(turbo, connection:)
    expect([found.turbo_keys, found.empty]).to eq [nil, []]
    found.app.fetch("Turbo::StreamsChannel")
  end

  it "runs classes without code of their own in the sidecar" do
    parent = channel("ApplicationCable::Channel")
    found = classify(parent, channel("HeartbeatChannel", parent))
    expect(found.empty).to eq %w[ApplicationCable::Channel HeartbeatChannel]
    expect([found.app, found.app?, found.turbo_keys]).to eq [{}, false, nil]
  end

  it "ignores class methods, and modules without methods" do
    found = classify(channel("BoardChannel") { def self.board = broadcast_to("board", 1) },
                     channel("PlainChannel") { include Module.new })
    expect(found.empty).to eq %w[BoardChannel PlainChannel]
  end

  it "runs classes with code of their own in the app" do
    with = {
      "defines subscribed" => -> { def subscribed = stream_from("a") },
      "defines unsubscribed" => -> { def unsubscribed = nil },
      "defines receive" => -> { def receive(data) = transmit(data) },
      "defines speak" => -> { include(Module.new { def speak = nil }) },
      "defines stream_from" => -> { prepend(Module.new { def stream_from(*) = nil }) },
      "defines find" => -> { private(def find = nil) },
      "has the callback before_subscribe" => -> { before_subscribe { throw :abort } },
      "has the callback after_unsubscribe" => -> { after_unsubscribe -> {} },
      "has a timer" => -> { periodically(-> {}, every: 1) },
      "handles errors" => -> { rescue_from(ArgumentError) { nil } },
      "creates its own objects" => -> { def self.new(*) = super.freeze }
    }
    with.each do |reason, body|
      own = channel("OwnChannel") { class_exec(&body) }
      found = classify(own, channel("BelowChannel", own))
      expect([found.app, found.empty]).to eq [{ "OwnChannel" => reason, "BelowChannel" => reason }, []]
    end
  end

  it "runs the class of turbo-rails in the sidecar, with its key" do
    found = classify(load_turbo(key: "\xFF\0key"))
    expect([found.turbo_keys, found.empty, found.app]).to eq [["\xFF\0key".b], [], {}]
  end

  it "takes the keys of rotations, the current one first" do
    turbo = load_turbo
    Turbo.signed_stream_verifier.rotate("an old key")
    expect(classify(turbo).turbo_keys).to eq ["the key of Turbo", "an old key"]
    Turbo.signed_stream_verifier.rotate("an older key", digest: "SHA1")
    expect(classify(turbo).turbo_keys).to be_nil
    turbo = load_turbo
    16.times { |number| Turbo.signed_stream_verifier.rotate("old key #{number}") }
    expect(classify(turbo).turbo_keys).to be_nil
    expect(classify(load_turbo(key: "")).turbo_keys).to be_nil
  end

  it "lets the app decide a Turbo::StreamsChannel that it has changed" do
    method = /has the method subscribed of the app|is not the one of turbo-rails/
    expect(reason { |it| it.prepend(Module.new { def subscribed = reject }) }).to match method
    expect(reason { |it| it.class_eval { def subscribed = reject } }).to match method
    expect(reason { |it| it.include(Module.new { def other = nil }) }).to eq "has the method other of the app"
    expect(reason { |it| it.prepend(Module.new { def stream_from(*) = nil }) })
      .to eq "has the method stream_from of the app"
    expect(reason { |it| it.before_subscribe(-> {}) }).to eq "has the callback before_subscribe"
    expect(reason { |it| it.after_subscribe(:stop_all_streams) }).to eq "has the callback after_subscribe"
    expect(reason { |it| it.periodically(-> {}, every: 1) }).to eq "has a timer"
    expect(reason { |it| it.rescue_from(ArgumentError) { nil } }).to eq "handles errors"
  end

  it "lets the app decide if it verifies names of streams" do
    name = "has the method verified_stream_name of the app"
    expect(reason { |it| it.define_singleton_method(:verified_stream_name) { |_| "x" } }).to eq name
    expect(reason { |it| it.singleton_class.prepend(Module.new { def verified_stream_name(*) = nil }) }).to eq name
    expect(reason { Turbo.define_singleton_method(:signed_stream_verifier) { nil } })
      .to eq "has the method signed_stream_verifier of the app"
    key = "has a key that the sidecar cannot use"
    [{ digest: "SHA1", serializer: JSON }, { digest: "SHA256", serializer: Marshal }].each do |options|
      verifier = ActiveSupport::MessageVerifier.new("k" * 32, **options)
      expect(reason { Turbo.instance_variable_set(:@signed_stream_verifier, verifier) }).to eq key
    end
    verifier = Class.new(ActiveSupport::MessageVerifier).new("k" * 32, digest: "SHA256", serializer: JSON)
    expect(reason { Turbo.instance_variable_set(:@signed_stream_verifier, verifier) }).to eq key
    expect(reason { Turbo.signed_stream_verifier_key = nil }).to eq key
  end

  it "lets the app decide a class of its own with the name of Turbo's" do
    load_turbo
    [-> { Turbo }, -> { forget_turbo && Object.const_set(:Turbo, Module.new) }].each do |turbo|
      turbo = turbo.call
      turbo.send(:remove_const, :StreamsChannel) if turbo.const_defined?(:StreamsChannel)
      own = turbo.const_set(:StreamsChannel, Class.new(ActionCable::Channel::Base))
      expect(classify(own).app).to eq("Turbo::StreamsChannel" => "is not the one of turbo-rails")
    end
  end

  it "lets the app decide everything if its connections run code with each command" do
    own = "ApplicationCable::Connection has its own method transmit"
    expect(reason(connection: connection_class { def transmit(*) = nil }) { nil }).to eq own
    empty = classify(channel("HeartbeatChannel"), connection: connection_class { def transmit(*) = nil })
    expect([empty.empty, empty.app]).to eq [[], { "HeartbeatChannel" => own }]
  end

  # Rails 6.1 and 7.0 have no such callbacks.
  version = Gem.loaded_specs["actioncable"].version
  it "lets the app decide everything if its connections have callbacks", if: version >= Gem::Version.new("7.1") do
    own = connection_class { before_command { throw :abort } }
    expect(reason(connection: own) { nil }).to eq "ApplicationCable::Connection has the callback before_command"
  end

  it "runs channels in the sidecar beside any connect, disconnect and helpers of connections" do
    own = connection_class do
      identified_by :current_user
      rescue_from(ArgumentError) { nil }
      def connect = self.current_user = find
      def disconnect = nil

      private

      def find = reject_unauthorized_connection
      def allow_request_origin? = true
    end
    expect(classify(channel("HeartbeatChannel"), connection: own).empty).to eq %w[HeartbeatChannel]
  end

  it "ignores code of gems that only measure" do
    Dir.mktmpdir do |folder|
      File.write("#{folder}/measuring.rb", <<~RUBY)
        module Measuring
          def subscribe_to_channel = super
        end
        MEASURE = lambda { |_, subscription| subscription.call }
      RUBY
      load "#{folder}/measuring.rb"
      spec = Gem::Specification.new { |it| it.name = "sentry-rails" }
      allow(spec).to receive(:full_require_paths).and_return([folder])
      own = channel("HeartbeatChannel") do
        prepend Measuring
        set_callback :subscribe, :around, MEASURE
      end
      expect(classify(own).app.keys).to eq %w[HeartbeatChannel]
      allow(Gem).to receive(:loaded_specs).and_return(Gem.loaded_specs.merge("sentry-rails" => spec))
      expect(classify(own).empty).to eq %w[HeartbeatChannel]
      # It does not hide the method that it calls.
      own.class_eval { def subscribe_to_channel = nil }
      expect(classify(own).app).to eq("HeartbeatChannel" => "defines subscribe_to_channel")
    end
  ensure
    %i[Measuring MEASURE].each { |name| Object.send(:remove_const, name) }
  end

  it "describes the division on one line" do
    turbo = load_turbo
    found = classify(channel("ChatChannel") { def subscribed = nil }, turbo, channel("HeartbeatChannel"))
    expect(found.summary).to eq "in the sidecar: Turbo::StreamsChannel, HeartbeatChannel; in the app: ChatChannel " \
                                "(defines subscribed)"
    expect(classify.summary).to eq "in the sidecar: none; in the app: none"
  end
end
