// Page of one user: shows the rendered and the received messages, and sends the forms.
import { Seat, delayMs } from "/seat.js";
import { connect } from "/lineside.js";

// Delay before a failed refetch is retried.
const REFETCH_MS = 2_000;
// Number of messages in each list; Message::NEWEST_COUNT has the same.
const ITEMS_MAX = 30;
const lists = { board: document.getElementById("posts"), user: document.getElementById("notices") };

const shown = (ms) => (ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(1)} s`);

function item({ id, author, body, sent_at: sentAt }) {
  const element = document.getElementById("message").content.firstElementChild.cloneNode(true);
  element.dataset.id = id;
  element.querySelector(".face").textContent = author[0];
  element.querySelector(".face").dataset.name = author;
  element.querySelector("strong").textContent = author;
  element.querySelector("p").textContent = body;
  if (sentAt) {
    element.classList.add("live");
    element.querySelector("time").textContent = `received after ${shown(delayMs(sentAt))}`;
  }
  return element;
}

// Adds a message to a list, newest first. A replay can contain messages that the page was rendered with: they are shown
// once.
function add(list, message) {
  const older = [...list.children].find((element) => Number(element.dataset.id) <= message.id);
  if (Number(older?.dataset.id) !== message.id) list.insertBefore(item(message), older ?? null);
  while (list.children.length > ITEMS_MAX) list.lastElementChild.remove();
}

const showPost = (post) => add(lists.board, post);
const showNotice = (notice) => add(lists.user, notice);

function show({ posts, notices }) {
  posts.forEach(showPost);
  notices.forEach(showNotice);
}

// Refetches the page's data, and retries until there is an answer. Reloads the page if the user has signed out.
async function fetchState() {
  for (;;) {
    const response = await fetch(location.pathname, { headers: { Accept: "application/json" } }).catch(() => null);
    if (response?.ok) return response.json();
    if (response?.status === 401) location.reload();
    await new Promise((resolve) => setTimeout(resolve, REFETCH_MS));
  }
}

async function send(event) {
  event.preventDefault();
  const form = event.target;
  const response = await fetch(form.action, {
    method: "POST",
    body: new FormData(form),
    headers: { Accept: "application/json" },
  }).catch(() => null);
  if (response?.ok) {
    form.elements.body.value = "";
  } else {
    form.elements.body.setCustomValidity(response?.status === 422 ? await response.text() : "Not sent. Try again.");
    form.elements.body.reportValidity();
  }
}

for (const form of document.querySelectorAll("form[data-json]")) {
  form.addEventListener("submit", send);
  form.addEventListener("input", () => form.elements.body.setCustomValidity(""));
}

const state = JSON.parse(document.getElementById("state").textContent);
show(state);

const seat = new Seat(state.ticks.at(-1) ?? 0);

function countTick({ id, sent_at: sentAt }, { resent }) {
  seat.tally.see(id, resent);
  seat.report(delayMs(sentAt));
}

const lineside = connect();
lineside.subscribe("board", showPost);
lineside.user(showNotice);
lineside.subscribe("ticks", countTick);

lineside.addEventListener("lost", async () => {
  seat.losses++;
  seat.report();
  const fresh = await fetchState();
  show(fresh);
  seat.tally.fetch(fresh.ticks);
  seat.report();
});

const WORDS = { open: "connected", connecting: "connecting", offline: "offline", closed: "closed" };

function showStatus({ status, code, waitMs }) {
  const words = status === "waiting" ? `reconnects in ${((waitMs ?? 0) / 1000).toFixed(1)} s` : WORDS[status];
  seat.show(status, words ?? `stopped (${code ?? "signed out"})`);
  // Without a code, the app gave no token: the user has signed out, and the app shows the sign-in page.
  if (status === "stopped" && code === undefined) location.reload();
}

lineside.addEventListener("status", ({ detail }) => showStatus(detail));
showStatus({ status: lineside.status });
