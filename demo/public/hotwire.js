// Counts what a page with Turbo receives, and shows its status. The page's contents come from the streams alone.
import { Seat, delayMs } from "/seat.js";

const SOURCE = "turbo-cable-stream-source";
const newestTick = () => Number(document.querySelector("#ticks data").value);

const seat = new Seat(newestTick());

// A stream of ticks replaces the content of #ticks.
function countTicks({ target, addedNodes }) {
  if (target.id !== "ticks") return;
  for (const node of addedNodes) {
    if (node.localName !== "data") continue;
    seat.tally.see(Number(node.value));
    seat.report(delayMs(node.dataset.sentAt));
  }
}

function showStatus() {
  const isConnected = [...document.querySelectorAll(SOURCE)].every((source) => source.hasAttribute("connected"));
  if (!isConnected) seat.show("connecting", "connecting");
  else if (document.documentElement.dataset.lineside === "lost") seat.show("lost", "refreshes the page");
  else seat.show("open", "connected");
}

new MutationObserver((records) => {
  records.forEach(countTicks);
  if (records.some(({ type }) => type === "attributes")) showStatus();
}).observe(document, { subtree: true, childList: true, attributeFilter: ["connected", "data-lineside"] });
showStatus();

// A refresh shows the page as it is rendered now. Messages that the page has received since then can come again.
addEventListener("turbo:render", () => {
  seat.tally.refresh(newestTick());
  seat.report();
});

// The app does not render the attribute that Turbo sets once a source is connected.
addEventListener("turbo:before-morph-attribute", (event) => {
  if (event.detail.attributeName === "connected") event.preventDefault();
});

// Highlights what a stream adds.
addEventListener("turbo:before-stream-render", ({ target }) => {
  target.templateElement?.content.firstElementChild?.classList.add("live");
});

addEventListener("lineside:lost", () => {
  seat.losses++;
  seat.report();
});
