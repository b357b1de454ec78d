// Window around the pages of two users: sends steady traffic, draws its delay, runs the switches and compares the
// measured result with the promise.
import { Chart } from "/chart.js";

// Interval of the steady traffic.
const TICK_MS = 200;
// Time that the pages stay offline.
const OFFLINE_MS = 5_000;
// Minimum number of messages, sent after a switch and received by both pages, before its promise is judged.
const MESSAGES_TO_JUDGE = 15;

const chart = new Chart(document.getElementById("chart"));
const steady = document.getElementById("steady");
const seats = new Map();
const switches = document.querySelectorAll("[data-switch]");
const buttons = document.querySelectorAll("[data-switch] button");
// Number of the newest message that the app has accepted, and the switch whose promise is being measured.
let newest = 0;
let trial;

const shown = (ms) => (ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(1)} s`);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function post(url, fields) {
  const headers = { "X-CSRF-Token": document.querySelector('meta[name="csrf-token"]').content };
  return fetch(url, { method: "POST", headers, body: new URLSearchParams(fields) }).catch(() => null);
}

// Sends one message at a time and retries until the app accepts it. The key makes sure that it is published once.
async function sendTicks() {
  for (;;) {
    await pause(TICK_MS);
    if (!steady.checked || document.hidden) continue;
    const key = crypto.randomUUID();
    let response;
    while (!(response = await post("/ticks", { key }))?.ok) await pause(TICK_MS);
    newest = (await response.json()).id;
    judge();
  }
}

addEventListener("message", ({ origin, source, data }) => {
  const frame = [...document.querySelectorAll("iframe")].find((it) => it.contentWindow === source);
  if (origin !== location.origin || !frame) return;
  if ("height" in data) return fit(frame, data.height);
  seats.set(frame.name, data);
  const key = document.querySelector(`.key[data-seat="${frame.name}"]`);
  if (data.ms !== undefined) chart.dot(data.ms, frame.name);
  const median = chart.median(frame.name);
  key.hidden = median === undefined;
  key.querySelector("span").textContent = `${data.name}: median`;
  key.querySelector("b").textContent = key.hidden ? "" : shown(median);
  judge();
});

// Makes a frame as high as its page and the frame's border.
function fit(frame, height) {
  frame.style.minHeight = `${height + frame.offsetHeight - frame.clientHeight}px`;
}

// Switches

const sum = (count) => [...seats.values()].reduce((total, seat) => total + seat[count], 0);

for (const card of switches) {
  const button = card.querySelector("button");
  button.addEventListener("click", async () => {
    steady.checked = true;
    const { switch: name, promise } = card.dataset;
    for (const each of buttons) each.disabled = true;
    trial = { card, promise, begin: newest, losses: sum("losses"), missing: sum("missing"), twice: sum("twice") };
    say("under way", "starting");
    chart.mark(button.textContent.toLowerCase());
    if (name === "offline") return goOffline();
    const response = await post("/switches", { switch: name });
    if (response?.ok) return;
    end("failed", response?.status === 503 ? await response.text() : "the app did not run the switch; see its log");
  });
}

async function goOffline() {
  for (const { contentWindow } of document.querySelectorAll("iframe")) contentWindow.postMessage({ network: false }, location.origin);
  trial.isHeld = true;
  say("under way", "offline for five seconds");
  await pause(OFFLINE_MS);
  for (const { contentWindow } of document.querySelectorAll("iframe")) contentWindow.postMessage({ network: true }, location.origin);
  trial.isHeld = false;
}

function say(state, text) {
  trial.card.dataset.state = state;
  trial.card.querySelector("output").textContent = text;
}

function end(state, text) {
  say(state, text);
  trial = undefined;
  for (const each of buttons) each.disabled = false;
}

// Whether a promise was kept, by what was counted.
const KEPT = {
  "nothing lost": ({ losses, twice }) => losses + twice === 0,
  "nothing lost, can come twice": ({ losses }) => losses === 0,
  "loss reported and refetched": ({ losses, twice }) => losses > 0 && twice === 0,
  "loss not reported": ({ losses }) => losses === 0,
};

// Judges the promise once enough messages were sent and both pages have received the last of them. Waits for missing
// ones, except those whose loss is not reported.
function judge() {
  if (!trial || trial.isHeld) return;
  const sent = newest - trial.begin;
  const here = Math.min(...[...seats.values()].map((seat) => seat.newest)) - trial.begin;
  say("under way", `${sent} sent, ${Math.max(0, here)} received by both so far`);
  if (sent >= MESSAGES_TO_JUDGE) trial.end ??= newest;
  if (![...seats.values()].every((seat) => seat.status === "open" && seat.newest >= trial.end)) return;

  const counts = Object.fromEntries(["losses", "missing", "twice"].map((name) => [name, sum(name) - trial[name]]));
  const { losses, missing, twice } = counts;
  if (missing > 0 && trial.promise !== "loss not reported") return;
  const loss = losses > 0 ? "loss reported and refetched" : missing > 0 ? `${missing} missing` : "none lost";
  const duplicates = twice === 0 ? "no duplicates" : `${twice} duplicates`;
  end(KEPT[trial.promise](counts) ? "kept" : "broken", `${sent} sent, ${loss}, ${duplicates}`);
}

sendTicks();
