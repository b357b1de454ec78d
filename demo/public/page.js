// The demo's page: shows what it was rendered with and what the connection brings, and sends its forms.
import { Connection } from "/connection.js";

const REFETCH_MS = 2_000;
// As many as the page is rendered with.
const ITEMS_MAX = 30;
const lists = { board: document.getElementById("posts"), user: document.getElementById("notices") };
const line = document.getElementById("line");

const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
const now = () => performance.timeOrigin + performance.now();

// From publish to here, by the clocks of server and browser: true on one machine, off by their difference on two.
function delay(sentAt) {
  const ms = now() - sentAt;
  return ms < 1000 ? `${ms.toFixed(1)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function item({ id, author, body, sent_at: sentAt }) {
  const element = document.getElementById("message").content.firstElementChild.cloneNode(true);
  element.dataset.id = id;
  element.querySelector(".face").textContent = author[0];
  element.querySelector(".face").dataset.name = author;
  element.querySelector("strong").textContent = author;
  element.querySelector("p").textContent = body;
  if (sentAt) {
    element.classList.add("live");
    element.querySelector("time").textContent = `seen after ${delay(sentAt)}`;
  }
  return element;
}

// Newest first, each once: a resume may bring again what the page was rendered with.
function add(list, message) {
  const older = [...list.children].find((element) => Number(element.dataset.id) <= message.id);
  if (Number(older?.dataset.id) !== message.id) list.insertBefore(item(message), older ?? null);
  while (list.children.length > ITEMS_MAX) list.lastElementChild.remove();
}

function show({ posts, notices }) {
  posts.forEach((post) => add(lists.board, post));
  notices.forEach((notice) => add(lists.user, notice));
}

// Without an answer it asks again until there is one. Signed out, or in as somebody else, the page is another's: it loads
// that one.
async function fetchJson(url, options = {}) {
  const headers = { Accept: "application/json", "X-CSRF-Token": meta("csrf-token") };
  for (;;) {
    const response = await fetch(url, { headers, ...options }).catch(() => null);
    if (response?.ok) return response.json();
    if ([401, 422].includes(response?.status)) location.reload();
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

show(JSON.parse(document.getElementById("state").textContent));
const start = { url: meta("lineside-url"), token: meta("lineside-token"), after: meta("lineside-cursor") };
new Connection(start, {
  message: ({ channel, data }) => add(channel === "board" ? lists.board : lists.user, data),
  lost: async () => show(await fetchJson("/")),
  freshToken: async () => (await fetchJson(meta("lineside-token-url"), { method: "POST" })).token,
  state: (word, explanation) => {
    line.dataset.state = word;
    line.firstElementChild.textContent = explanation;
  },
});
