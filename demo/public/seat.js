// Parts that the pages of a user share: the status, the counts of the steady traffic, and messages to and from the
// window. Import it before any module that connects.
import { switchNetwork } from "/network.js";
import { Tally } from "/tally.js";

const now = () => performance.timeOrigin + performance.now();

// Delay from publish to now, by the clocks of server and browser. Exact on one machine; on two machines, off by the
// difference of their clocks.
export const delayMs = (sentAt) => Math.max(0, now() - sentAt);

export class Seat {
  // Number of reported losses.
  losses = 0;
  #status = "connecting";

  // `newest`: number of the newest message that the page was rendered with.
  constructor(newest) {
    this.tally = new Tally(newest);
    this.report();
  }

  // Shows the counts, and sends them to the window if the page is in one of its frames. `ms`: delay of a message.
  report(ms) {
    const { seen, missing, twice, fetched, newest } = this.tally;
    const counts = { seen, missing, twice, fetched };
    for (const [name, count] of Object.entries(counts)) {
      const element = document.querySelector(`[data-count="${name}"]`);
      element.textContent = count.toLocaleString("en");
      element.dataset.isZero = count === 0;
    }
    const name = document.getElementById("me").textContent;
    tellWindow({ name, status: this.#status, newest, losses: this.losses, ms, ...counts });
  }

  // Shows the status in words. The status of a connected page is "open".
  show(status, words) {
    const line = document.getElementById("line");
    if (line.firstElementChild.textContent === words) return;
    this.#status = status;
    line.dataset.state = status;
    line.firstElementChild.textContent = words;
    this.report();
  }
}

function tellWindow(data) {
  if (parent !== globalThis) parent.postMessage(data, location.origin);
}

// The window makes the frame as high as the page, so that nothing is cut.
new ResizeObserver(() => tellWindow({ height: document.body.offsetHeight })).observe(document.body);

addEventListener("message", ({ origin, data }) => {
  if (origin === location.origin && "network" in data) switchNetwork(data.network);
});
