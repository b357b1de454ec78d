// The window around two people's pages: sends steady traffic, draws how long it takes, throws the switches and compares
// what then happened with what is promised.
import { Chart } from "/chart.js";

const BEAT_MS = 200;
// How long the pages stay offline.
const OFFLINE_MS = 5_000;
// A promise is judged once so many messages that were sent after the switch have reached both pages.
const MESSAGES_TO_JUDGE = 15;

const chart = new Chart(document.getElementById("chart"));
const steady = document.getElementById("steady");
const seats = new Map();
const switches = document.querySelectorAll("[data-switch]");
// The number of the newest message that the app has taken, and the switch that is being judged.
let newest = 0;
let trial;

const shown = (ms) => (ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(1)} s`);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function post(url, fields) {
  const headers = { "X-CSRF-Token": document.querySelector('meta[name="csrf-token"]').content };
  return fetch(url, { method: "POST", headers, body: new URLSearchParams(fields) }).catch(() => null);
}

// One message at a time, each until the app has taken it. Under its key it lands once, however often it was tried.
async function beat() {
  for (;;) {
    await pause(BEAT_MS);
    if (!steady.checked || document.hidden) continue;
    const key = crypto.randomUUID();
    let response;
    while (!(response = await post("/ticks", { key }))?.ok) await pause(BEAT_MS);
    newest = (await response.json()).id;
    judge();
  }
}

addEventListener("message", ({ origin, source, data }) => {
  const frame = [...document.querySelectorAll("iframe")].find((it) => it.contentWindow === source);
  if (origin !== location.origin || !frame) return;
  seats.set(frame.name, data);
  const key = document.querySelector(`.key[data-seat="${frame.name}"]`);
  if (data.ms !== undefined) chart.dot(data.ms, frame.name);
  key.querySelector("span").textContent = data.name;
  const median = chart.median(frame.name);
  key.querySelector("b").textContent = median === undefined ? "" : shown(median);
  judge();
});

// Switches

const sum = (count) => [...seats.values()].reduce((total, seat) => total + seat[count], 0);

for (const button of switches) {
  button.addEventListener("click", async () => {
    steady.checked = true;
    const { switch: name, promise } = button.dataset;
    for (const each of switches) each.disabled = true;
    trial = { button, promise, begin: newest, losses: sum("losses"), twice: sum("twice") };
    say("under way", "now");
    chart.mark(button.querySelector("strong").textContent.toLowerCase());
    if (name === "offline") return goOffline();
    const response = await post("/switches", { switch: name });
    if (response?.ok) return;
    end("failed", response?.status === 503 ? await response.text() : "the app did not do it; its log says why");
  });
}

async function goOffline() {
  for (const { contentWindow } of document.querySelectorAll("iframe")) contentWindow.postMessage({ network: false }, location.origin);
  trial.isHeld = true;
  await pause(OFFLINE_MS);
  for (const { contentWindow } of document.querySelectorAll("iframe")) contentWindow.postMessage({ network: true }, location.origin);
  trial.isHeld = false;
}

function say(state, text) {
  trial.button.dataset.state = state;
  trial.button.querySelector("output").textContent = text;
}

function end(state, text) {
  say(state, text);
  trial = undefined;
  for (const each of switches) each.disabled = false;
}

// Once enough was sent, and all of it is there.
function judge() {
  if (!trial || trial.isHeld) return;
  const sent = newest - trial.begin;
  const here = Math.min(...[...seats.values()].map(({ through }) => through)) - trial.begin;
  say("under way", `${sent} sent since, ${Math.max(0, here)} seen by both`);
  if (sent >= MESSAGES_TO_JUDGE) trial.end ??= newest;
  const isSettled = [...seats.values()].every(({ status, through }) => status === "open" && through >= trial.end);
  if (!isSettled) return;

  const twice = sum("twice") - trial.twice;
  const wasTold = sum("losses") > trial.losses;
  const isKept = twice === 0 && wasTold === (trial.promise !== "nothing lost");
  const ending = twice === 0 ? "none twice" : `${twice} twice`;
  end(isKept ? "kept" : "broken", `${sent} sent: ${wasTold ? "told, fetched again" : "none lost"}, ${ending}`);
}

beat();
