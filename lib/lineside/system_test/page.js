// Runs in each page of a test, by `evaluate_async_script`. Waits until the page is connected and has drawn what it received,
// for at most the milliseconds of the first argument. The last argument takes the result.
const [msMax] = arguments;
const done = arguments[arguments.length - 1];

// Time between two looks, in milliseconds.
const PAUSE_MS = 10;
// Time after which a frame that the browser does not draw counts as drawn, in milliseconds. A window that is covered draws none.
const FRAME_MS_MAX = 250;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const frame = () => {
  if (document.visibilityState === "hidden") return pause(0);
  return Promise.race([new Promise((resolve) => requestAnimationFrame(resolve)), pause(FRAME_MS_MAX)]);
};

const streams = () => [...document.querySelectorAll("turbo-cable-stream-source")];

// Whether a stream of Turbo waits for its confirmation. A rejected one is no longer among its consumer's subscriptions. Older
// versions of turbo-rails do not show the confirmation.
function isUnconfirmed(stream) {
  if (stream.hasAttribute("connected") || !("subscriptionConnected" in stream)) return false;
  const { subscription } = stream;
  return !subscription || subscription.consumer.subscriptions.subscriptions.includes(subscription);
}

function reasons() {
  // Each connection of lineside.js adds its status.
  const statuses = [];
  dispatchEvent(new CustomEvent("lineside:ask", { detail: statuses }));
  const unconfirmed = streams().filter(isUnconfirmed).length;
  return [
    document.readyState !== "complete" && "it is loading",
    statuses.some((status) => status === "connecting" || status === "waiting") && "its connection of Lineside is not open",
    unconfirmed > 0 && `${unconfirmed} of its turbo-cable-stream-source elements are not connected`,
    document.querySelector("html > turbo-stream") && "it renders a turbo-stream",
    document.querySelector("html[aria-busy=true], form[aria-busy=true]") && "Turbo visits a page or submits a form",
  ].filter(Boolean);
}

async function settle() {
  const end = performance.now() + msMax;
  let hasWaited = false;
  for (;;) {
    const waits = reasons();
    if (waits.length === 0) {
      // Received messages are handled before this, and what they draw in the first frame is drawn before the second.
      await pause(0);
      await frame();
      await frame();
      if (reasons().length === 0) return { hasWaited, waits };
    } else if (performance.now() >= end) {
      return { hasWaited, waits };
    } else {
      await pause(PAUSE_MS);
    }
    hasWaited = true;
  }
}

settle().then(
  ({ hasWaited, waits }) => done({ hasWaited, waits, streams: streams().length }),
  (error) => done({ hasWaited: false, waits: [String(error)], streams: 0 }),
);
