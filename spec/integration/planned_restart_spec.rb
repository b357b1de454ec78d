# frozen_string_literal: true

RSpec.describe "A planned restart of the sidecar", :sidecar do
  before { start_sidecar }

  # Restarts the sidecar. The block runs while there is none.
  def restart
    sidecar.signal(:TERM)
    expect(sidecar.wait).to be_success
    yield if block_given?
    start_sidecar
    expect(sidecar.output).to include("event=state_restored")
  end

  it "loses no publication, for pages and for publishers" do
    rendered = Lineside.publish!("orders", "rendered").cursor
    # Fewer than the history limit of a channel.
    publishing = Thread.new { 900.times { |number| Lineside.publish("orders", number) || raise("refused") } }
    restart { publishing.join }
    receipt = Lineside.publish!("orders", "last")
    expect(receipt.cursor).to start_with(rendered[/\A[^.]+\./])
    browser = browse(channels: ["orders"], after: rendered)
    expect(browser.welcome).to include("recovered" => true, "lost" => [])
    messages = browser.messages_until("last")
    expect(messages.map { |message| message["data"] }).to eq([*0...900, "last"])
    expect(messages).not_to include(a_hash_including("resent"))
    expect(Lineside.publisher.status).to include(accepted: 902, acked: 902, reconnects: 1)
  end

  it "keeps once: ids" do
    first = Lineside.publish!("orders", 1, once: "order-7-paid")
    restart
    again = Lineside.publish!("orders", 2, once: "order-7-paid")
    expect(again).to have_attributes(duplicate?: true, cursor: first.cursor)
  end

  it "keeps revocations" do
    token = Lineside.token("ada")
    Lineside.disconnect!("ada")
    restart
    expect { Browser.new(@port, token:) }.to raise_error(/4002.*token_revoked/)
    browse("ada")
  end
end
