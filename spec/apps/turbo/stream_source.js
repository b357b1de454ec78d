// Stand-in for the element of turbo-rails, and for Turbo's rendering of a stream, which waits for a frame if the page is
// visible. Needs the globals ActionCable and show.
globalThis.consumer = ActionCable.createConsumer("/cable?user=ada");

customElements.define(
  "turbo-cable-stream-source",
  class extends HTMLElement {
    async connectedCallback() {
      // turbo-rails loads its consumer here.
      await Promise.resolve();
      const channel = { channel: this.getAttribute("channel"), signed_stream_name: this.getAttribute("signed-stream-name") };
      for (const { name, value } of this.attributes)
        if (name.startsWith("data-")) channel[name.slice("data-".length).replaceAll("-", "_")] = value;
      this.subscription = consumer.subscriptions.create(channel, {
        received: (text) => this.render(text),
        connected: () => this.subscriptionConnected(),
        disconnected: () => this.removeAttribute("connected"),
      });
    }

    subscriptionConnected() {
      this.setAttribute("connected", "");
    }

    async render(text) {
      await new Promise((resolve) => {
        if (document.visibilityState === "hidden") setTimeout(resolve);
        else requestAnimationFrame(resolve);
      });
      show("#stream", text);
    }
  },
);
