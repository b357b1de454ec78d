// The demo's page: shows what it was rendered with and what the connection brings, and sends its forms.
import { Connection } from "/connection.js";

const REFETCH_MS = 2_000;
// As many as the page is rendered with.
const ITEMS_MAX = 30;
const lists = { board: document.getElementById("posts"), user: document.getElementById("notices") };
const line = document.getElementById("line");

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

// The page's state of now. Without an answer it asks again until there is one; signed out, it goes to the sign-in.
async function fetchState() {
  for (;;) {
    const response = await fetch("/", { headers: { Accept: "application/json" } }).catch(() => null);
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
new Connection(state, {
  message: ({ channel, data }) => add(channel === "board" ? lists.board : lists.user, data),
  lost: async () => show(await fetchState()),
  freshToken: async () => (await fetchState()).token,
  state: (word, explanation) => {
    line.dataset.state = word;
    line.firstElementChild.textContent = explanation;
  },
});
