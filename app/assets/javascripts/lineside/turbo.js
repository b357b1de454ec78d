// Turbo Streams without gaps and repetitions (docs/turbo-streams.md): import it once, beside @hotwired/turbo-rails.
//
// `data-lineside-after` of a source is the cursor up to which the document shows its stream. The app renders it. This
// module moves it behind each rendered message, so snapshots of Turbo carry it with their contents, and subscribes
// after it. A page that Turbo renders or morphs brings its own. A source without one begins when it subscribes.
import { Turbo, cable } from "@hotwired/turbo-rails";

const SOURCE = "turbo-cable-stream-source";
const AFTER = "data-lineside-after";
const PERMANENT = "[data-turbo-permanent]";

// Span of the random delay before a page that has lost messages is refreshed, so that not all pages ask the app at
// once. If a refresh follows another one within REFRESH_AGAIN_MS, for example while the app has no link to the sidecar,
// the span doubles each time, up to REFRESH_AGAIN_MS_MAX.
const REFRESH_MS_MAX = 5_000;
const REFRESH_AGAIN_MS = 180_000;
const REFRESH_AGAIN_MS_MAX = 120_000;
// Delay before a refresh is tried again while the page is offline.
const ONLINE_MS = 2_000;

const sources = document.getElementsByTagName(SOURCE);
// Sources seen, sources that the server has refused, and sources of which messages are lost.
const known = new WeakSet();
const refused = new WeakSet();
const lost = new Set();
// Cursors of what a permanent source shows: inside permanent elements, and outside of them.
const parts = new WeakMap();
// Followed connections by their consumer.
const connections = new WeakMap();
// The message that Turbo receives at the moment.
let delivery;
let refreshTimer;
let lastRefresh = storedRefresh();

// Whether `cursor` is after `seen`. Of cursors of different epochs, the one received later is newer.
function isNew(cursor, seen) {
  if (!seen) return true;
  const [[epoch, position], [seenEpoch, seenPosition]] = [cursor.split("."), seen.split(".")];
  return epoch !== seenEpoch || Number(position) > Number(seenPosition);
}

// Returns the earlier of two cursors; "unknown", which resumes as lost, if their epochs differ.
function lower(one, other) {
  if (one.split(".")[0] !== other.split(".")[0]) return "unknown";
  return isNew(one, other) ? other : one;
}

// Cursor in an identifier that a source has made from its attributes, if it had one.
const cursorIn = (identifier) => JSON.parse(identifier).lineside_after;

const isStream = (identifier) => "signed_stream_name" in JSON.parse(identifier);

const nameOf = (source) => [source.getAttribute("channel"), source.getAttribute("signed-stream-name")].join(" ");

const emit = (source, type, detail) =>
  source.dispatchEvent(new CustomEvent(`lineside:${type}`, { bubbles: true, cancelable: type === "lost", detail }));

// One subscription.
class Stream {
  // Increases when the document is replaced: messages that Turbo has not rendered yet are then received again.
  generation = 0;
  // Whether the server has confirmed it: on the current socket, and ever.
  isConfirmed = false;
  wasConfirmed = false;
  #rendered = Promise.resolve();

  constructor(identifier, cursor) {
    this.identifier = identifier;
    // Cursor up to which everything was received, and the one that the sources show.
    this.received = this.shown = cursor;
  }

  get sources() {
    return [...sources].filter(({ subscription }) => subscription?.identifier === this.identifier);
  }

  // Passes a message to Turbo.
  receive(cursor, deliver) {
    this.received = cursor;
    delivery = { stream: this, cursor, generation: this.generation, elements: [] };
    const { elements } = delivery;
    try {
      deliver();
    } finally {
      delivery = undefined;
      this.advance(cursor, elements);
    }
  }

  // Moves the sources' cursor, once Turbo has rendered the elements.
  advance(cursor, elements = []) {
    const { generation } = this;
    this.#rendered = this.#rendered
      .then(() => Promise.allSettled(elements.map(({ renderPromise }) => renderPromise)))
      .then(() => generation === this.generation && this.#show(cursor));
  }

  // Continues at the cursor of a document that has replaced the one shown.
  reset(cursor) {
    this.generation++;
    this.received = cursor;
    this.#show(cursor);
  }

  #show(cursor) {
    this.shown = cursor;
    for (const source of this.sources) if (source.getAttribute(AFTER) !== cursor) source.setAttribute(AFTER, cursor);
  }
}

// A connection of @rails/actioncable whose streams resume.
class Connection {
  #connection;
  #subscriptions;
  #original;
  #streams = new Map();
  // Socket of the last command, and whether the server was asked for cursors on it.
  #socket;
  #isGreeted = false;
  // Number of confirmations to come, by identifier. What arrives before the last of them belongs to earlier
  // subscriptions.
  #awaited = new Map();
  #isBroken = false;
  // Newest answer of the server to a connect: accepted, or refused as unauthorized. Neither before the first answer.
  #isAccepted = false;
  isRefused = false;

  constructor({ connection, subscriptions }) {
    this.#connection = connection;
    this.#subscriptions = subscriptions;
    const { send, events } = connection;
    this.#original = { send: send.bind(connection), receive: events.message.bind(connection) };
    connection.send = (command) => this.#send(command);
    connection.events = {
      ...events,
      message: (event) => this.#receive(event),
      open: (event) => {
        this.#isBroken = false;
        return events.open.call(connection, event);
      },
      close: (event) => {
        this.#isBroken = true;
        this.#leaveSocket();
        return events.close.call(connection, event);
      },
    };
    // The events of a socket that exists already are bound to the old functions.
    if (connection.webSocket) connection.installEventHandlers();
    if (connection.isOpen()) this.#adopt();
  }

  stream(identifier) {
    return this.#streams.get(identifier);
  }

  // Status of a source: "connecting", "connected" or "disconnected".
  status({ identifier }) {
    if (this.#isBroken) return "disconnected";
    return this.#streams.get(identifier)?.isConfirmed ? "connected" : "connecting";
  }

  // Connects for a new document if the server refused the one before. The client connects by itself only for new sources,
  // and the document can have kept its sources.
  reopen() {
    const affected = this.#sources;
    if (!this.isRefused || affected.length === 0) return;
    this.isRefused = false;
    for (const source of affected) lost.delete(source);
    this.#connection.open();
  }

  get #sources() {
    return [...sources].filter((source) => connectionOf(source) === this);
  }

  // Continues a stream after the cursor of a new document. Subscribes again if messages after it were received before.
  reset(stream, cursor) {
    const hasGap = isNew(stream.received, cursor);
    stream.reset(cursor);
    if (hasGap && this.#connection.isOpen()) this.#subscribeAgain(stream);
  }

  // Commands

  #send(command) {
    const { identifier } = command;
    if (command.command === "unsubscribe") this.#end(identifier);
    if (!this.#connection.isOpen()) return false;
    this.#enterSocket();
    if (command.command === "subscribe" && isStream(identifier)) return this.#subscribe(identifier);
    return this.#original.send(command);
  }

  #enterSocket() {
    if (this.#socket === this.#connection.webSocket) return;
    this.#leaveSocket();
    this.#socket = this.#connection.webSocket;
  }

  // Forgets a socket. The client can exchange one without the event that it is closed.
  #leaveSocket() {
    this.#socket = undefined;
    this.#isGreeted = false;
    this.#awaited.clear();
    for (const stream of this.#streams.values()) {
      if (stream.isConfirmed) for (const source of stream.sources) emit(source, "disconnected");
      stream.isConfirmed = false;
      stream.socket = undefined;
    }
    showStatus();
  }

  #subscribe(identifier) {
    if (!this.#isGreeted) this.#isGreeted = this.#original.send({ command: "lineside" });
    let stream = this.#streams.get(identifier);
    if (!stream) this.#streams.set(identifier, (stream = new Stream(identifier, cursorIn(identifier))));
    // The client repeats a subscribe until it is confirmed, and the server answers one of them.
    if (stream.socket !== this.#socket) {
      stream.socket = this.#socket;
      this.#awaited.set(identifier, (this.#awaited.get(identifier) ?? 0) + 1);
    }
    return this.#original.send({ command: "subscribe", identifier, lineside_after: stream.received });
  }

  #subscribeAgain(stream) {
    this.#enterSocket();
    this.#original.send({ command: "unsubscribe", identifier: stream.identifier });
    stream.socket = undefined;
    this.#subscribe(stream.identifier);
  }

  #end(identifier) {
    const stream = this.#streams.get(identifier);
    if (stream) stream.generation++;
    this.#streams.delete(identifier);
  }

  // Takes over subscriptions from before this module. The server knows what it has sent of them.
  #adopt() {
    this.#isAccepted = [...sources].some((source) => source.hasAttribute("connected"));
    const identifiers = this.#subscriptions.subscriptions.map(({ identifier }) => identifier);
    for (const identifier of new Set(identifiers.filter(isStream))) {
      const stream = new Stream(identifier, cursorIn(identifier));
      stream.received = undefined;
      this.#streams.set(identifier, stream);
      this.#subscribeAgain(stream);
    }
  }

  // Frames

  #receive(event) {
    const { type, identifier, cursor, reason } = JSON.parse(event.data);
    if (type === "welcome") [this.#isAccepted, this.isRefused] = [true, false];
    // Other reasons that forbid a reconnect are the app's own decisions. A refresh would undo them.
    if (type === "disconnect" && reason === "unauthorized") return this.#refuse(event);
    const stream = this.#streams.get(identifier);
    const isAnswer = type === "confirm_subscription" || type === "reject_subscription";
    if (isAnswer) this.#count(identifier);
    if (type === "lineside_lost") return stream && this.#isCurrent(identifier) && this.#lose(stream, cursor);
    if (!stream) return this.#original.receive(event);
    if (isAnswer) {
      this.#original.receive(event);
      if (this.#isCurrent(identifier)) this.#answered(stream, type, cursor);
    } else if (cursor === undefined) {
      this.#original.receive(event);
    } else if (this.#isCurrent(identifier) && isNew(cursor, stream.received)) {
      stream.receive(cursor, () => this.#original.receive(event));
    }
  }

  // The client does not connect again, for example after its cookie has expired. The app can render the page again, with
  // a new cookie. A page that was not accepted before would only be refused again.
  #refuse(event) {
    const wasAccepted = this.#isAccepted;
    [this.#isAccepted, this.isRefused] = [false, true];
    this.#original.receive(event);
    if (wasAccepted) lose(this.#sources);
  }

  #count(identifier) {
    const awaited = (this.#awaited.get(identifier) ?? 1) - 1;
    if (awaited > 0) this.#awaited.set(identifier, awaited);
    else this.#awaited.delete(identifier);
  }

  #isCurrent(identifier) {
    return !this.#awaited.has(identifier) && this.#socket === this.#connection.webSocket;
  }

  #answered(stream, type, cursor) {
    const { sources: affected, wasConfirmed } = stream;
    if (type === "reject_subscription") {
      this.#end(stream.identifier);
      for (const source of affected) {
        refused.add(source);
        source.removeAttribute("connected");
        emit(source, "disconnected");
      }
      // A stream that was confirmed before has expired. The app can render it again.
      if (wasConfirmed) lose(affected);
    } else {
      stream.isConfirmed = stream.wasConfirmed = true;
      if (cursor !== undefined && isNew(cursor, stream.received)) this.#skipTo(stream, cursor);
      for (const source of affected) emit(source, "connected");
    }
    showStatus();
  }

  #lose(stream, cursor) {
    const after = stream.received;
    this.#skipTo(stream, cursor);
    lose(stream.sources, after);
  }

  #skipTo(stream, cursor) {
    stream.received = cursor;
    stream.advance(cursor);
  }
}

// Lost messages

// `after`: cursor of the page, if its messages are lost. Without one, the name of the stream or the page's identity has
// expired.
function lose(affected, after) {
  let isDefault = false;
  for (const source of affected) {
    lost.add(source);
    isDefault = emit(source, "lost") || isDefault;
  }
  showStatus();
  const isOff = document.querySelector('meta[name="lineside-refresh"]')?.content === "off";
  if (!isDefault || isOff || refreshTimer) return;
  const isAgain = Math.abs(Date.now() - lastRefresh.at) < REFRESH_AGAIN_MS;
  const count = isAgain ? lastRefresh.count : 0;
  const isSamePage = lastRefresh.address === location.href && after && after !== "unknown" && after === lastRefresh.after;
  if (isAgain && isSamePage)
    return console.warn("lineside: the same page came again, from a cache, so it is not refreshed");
  const span = Math.min(REFRESH_MS_MAX * 2 ** count, REFRESH_AGAIN_MS_MAX);
  refreshTimer = setTimeout(() => refresh(count + 1, after), Math.random() * span);
}

function refresh(count, after = "") {
  refreshTimer = undefined;
  if (![...lost].some(({ isConnected }) => isConnected)) return;
  // Turbo loads the address after a failed visit, and the browser would then show an error in place of the page.
  if (isOffline()) {
    refreshTimer = setTimeout(() => refresh(count, after), ONLINE_MS);
    return;
  }
  lastRefresh = { at: Date.now(), count, after, address: location.href };
  try {
    sessionStorage["lineside.refresh"] = JSON.stringify(lastRefresh);
  } catch {
    // No sessionStorage, or a full one.
  }
  Turbo.visit(location.href, { action: "replace" });
}

// Whether a visit would probably fail. A connection that the server has refused stays closed, and says nothing about the
// network.
function isOffline() {
  if (!navigator.onLine) return true;
  if ([...lost].some((source) => connectionOf(source)?.isRefused)) return false;
  return document.documentElement.getAttribute("data-lineside") === "disconnected";
}

// Returns the last refresh, stored before the browser loaded the document again, as Turbo does when its tracked assets change:
// its time, the number of refreshes that followed one another within REFRESH_AGAIN_MS, and the cursor of the page before
// it. The frames of a tab share the storage, so the last refresh of another address does not count.
function storedRefresh() {
  try {
    const stored = JSON.parse(sessionStorage["lineside.refresh"]);
    if (stored.address === location.href) return stored;
  } catch {
    // No sessionStorage, or nothing stored.
  }
  return { at: 0, count: 0 };
}

// Sources and documents

const connectionOf = ({ subscription }) => subscription && connections.get(subscription.consumer);

// Shows the status of all sources in the attribute `data-lineside` of the document's element.
function showStatus() {
  for (const source of lost) if (!source.isConnected) lost.delete(source);
  const followed = [...sources].filter((source) => !refused.has(source));
  const statuses = followed.map((source) => connectionOf(source)?.status(source.subscription) ?? "connecting");
  const status = ["disconnected", "connecting"].find((it) => statuses.includes(it)) ?? (lost.size > 0 ? "lost" : "connected");
  const { documentElement } = document;
  if (followed.length === 0 && lost.size === 0) documentElement.removeAttribute("data-lineside");
  else if (documentElement.getAttribute("data-lineside") !== status) documentElement.setAttribute("data-lineside", status);
}

function follow(consumer) {
  if (connections.has(consumer)) return;
  if (!consumer.connection?.events) return console.warn("lineside: this consumer is not one of @rails/actioncable");
  connections.set(consumer, new Connection(consumer));
}

// Follows the consumer when the page has a source, not before, because the app can still exchange it.
function followSources() {
  const added = [...sources].filter((source) => !known.has(source));
  for (const source of added) known.add(source);
  if (added.length > 0) cable.getConsumer().then(follow);
}

// A cursor that this module has not written is that of a new document.
function noteCursor(source) {
  const connection = connectionOf(source);
  const stream = connection?.stream(source.subscription.identifier);
  const cursor = source.getAttribute(AFTER);
  if (!stream?.shown || cursor === stream.shown) return;
  lost.delete(source);
  // A morph removes an attribute that the page does not have.
  if (cursor === null) source.setAttribute(AFTER, stream.shown);
  else connection.reset(stream, cursor);
}

// A permanent source is kept, and what it shows outside of permanent elements is replaced by a page with its own cursor.
// Returns the new cursors of such sources.
function permanentCursors(body) {
  const rendered = new Map([...body.getElementsByTagName(SOURCE)].map((it) => [nameOf(it), it.getAttribute(AFTER)]));
  const cursors = [];
  for (const source of sources) {
    const after = rendered.get(nameOf(source));
    if (after && source.closest(PERMANENT) && source.hasAttribute(AFTER)) cursors.push([source, after]);
  }
  return cursors;
}

function keepPermanent(source, after) {
  const shown = source.getAttribute(AFTER);
  const before = parts.get(source)?.inside;
  // The cursor can still be that of the last page, from which messages are being received again.
  const inside = before && !isNew(shown, before) ? before : shown;
  lost.delete(source);
  parts.set(source, { inside, outside: after });
  source.setAttribute(AFTER, lower(shown, after));
}

// Whether the document shows a message already, in the part to which its target belongs.
function isShown(element, { stream, cursor }) {
  const { inside, outside } = parts.get(stream.sources[0]) ?? {};
  if (!outside) return false;
  const isInside = element.targetElements.every((target) => target.closest(PERMANENT));
  return !isNew(cursor, isInside ? inside : outside);
}

// The listeners of the window run behind those of the app, which may replace `render`.
addEventListener("turbo:before-stream-render", ({ target, detail }) => {
  if (!delivery) return;
  const message = delivery;
  const { render } = detail;
  message.elements.push(target);
  if (!render) return;
  detail.render = (element) => {
    if (message.generation === message.stream.generation && !isShown(element, message)) return render(element);
  };
});

addEventListener("turbo:before-render", ({ detail }) => {
  const cursors = permanentCursors(detail.newBody);
  const { render } = detail;
  if (cursors.length === 0 || !render) return;
  detail.render = (...given) => {
    for (const [source, after] of cursors) keepPermanent(source, after);
    return render(...given);
  };
});

addEventListener("turbo:load", () => {
  for (const source of sources) connectionOf(source)?.reopen();
});

new MutationObserver((records) => {
  for (const { type, target } of records) if (type === "attributes" && target.localName === SOURCE) noteCursor(target);
  followSources();
  showStatus();
}).observe(document, { subtree: true, childList: true, attributeFilter: [AFTER] });

followSources();
