// Deterministic browser API for lineside.js, driven by the test: `drive` delivers an event to the page, `take` returns the
// page's actions.

(() => {
  let actions = [];
  let nowMs = 0;
  let seed = 0;
  let tags = {};
  let isOnline = true;
  let visibility = "visible";

  const record = (it) => actions.push(it);

  // Mulberry32 (Ettinger, 2017): 32 bits of state are enough for random delays.
  const random = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let mixed = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };

  // Events (DOM): calls listeners in the order in which they were added, until their signal is aborted.
  class EventTarget {
    #listeners = [];

    addEventListener(type, listener, { signal } = {}) {
      const entry = { type, listener };
      this.#listeners.push(entry);
      signal?.addEventListener("abort", () => (this.#listeners = this.#listeners.filter((it) => it !== entry)));
    }

    dispatchEvent(event) {
      for (const { type, listener } of [...this.#listeners]) if (type === event.type) listener.call(this, event);
    }
  }

  class CustomEvent {
    constructor(type, { detail } = {}) {
      Object.assign(this, { type, detail });
    }
  }

  class AbortController {
    signal = new EventTarget();

    abort() {
      this.signal.dispatchEvent({ type: "abort" });
    }
  }

  // Timers (HTML): run by time, then in the order in which they were set.
  const timers = new Map();
  let timerId = 0;

  const dueTimer = () => {
    let due;
    for (const timer of timers.values()) if (!due || timer.atMs < due.atMs) due = timer;
    return due;
  };

  const setTimeout = (run, ms = 0) => {
    timers.set(++timerId, { id: timerId, atMs: nowMs + Math.max(0, ms), run });
    return timerId;
  };

  const clearTimeout = (id) => void timers.delete(id);

  // Sockets, numbered from 1. They open, receive and close only by `drive`.
  const sockets = new Map();

  class WebSocket {
    readyState = 0;

    constructor(url, protocol) {
      this.number = sockets.size + 1;
      sockets.set(this.number, this);
      record({ action: "open", socket: this.number, url, protocol });
    }

    send(text) {
      if (this.readyState === 0) throw new Error("the socket is not open");
      if (this.readyState === 1) record({ action: "send", socket: this.number, text });
    }

    close() {
      if (this.readyState >= 2) return;
      this.readyState = 2;
      record({ action: "close", socket: this.number });
    }
  }

  // Token requests, numbered from 1. Answered by `drive`, or rejected at their time-out.
  const requests = [];

  const fetch = (url, { headers, signal }) =>
    new Promise((resolve, reject) => {
      if (!isOnline) return reject(new TypeError("offline"));
      requests.push({ resolve, reject });
      signal.addEventListener("abort", () => reject(new Error("timeout")));
      record({ action: "fetch", request: requests.length, url, csrf: headers["X-CSRF-Token"] });
    });

  const AbortSignal = {
    timeout(ms) {
      const controller = new AbortController();
      setTimeout(() => controller.abort(), ms);
      return controller.signal;
    },
  };

  const document = new EventTarget();
  document.querySelector = (selector) => {
    const content = tags[selector.match(/^meta\[name="(.*)"\]$/)[1]];
    return content === undefined ? null : { content };
  };
  Object.defineProperty(document, "visibilityState", { get: () => visibility });

  const page = new EventTarget();

  Object.assign(globalThis, { EventTarget, CustomEvent, AbortController, AbortSignal, WebSocket, fetch, document });
  Object.assign(globalThis, { setTimeout, clearTimeout });
  globalThis.addEventListener = page.addEventListener.bind(page);
  globalThis.location = { href: "http://app.test/" };
  globalThis.navigator = Object.defineProperty({}, "onLine", { get: () => isOnline });
  globalThis.URL = class {
    constructor(url, base) {
      this.href = /^\w+:/.test(url) ? url : new RegExp("^\\w+://[^/]+").exec(base)[0] + url;
    }
  };
  globalThis.TextDecoder = class {
    decode(bytes) {
      return decodeURIComponent([...bytes].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""));
    }
  };
  globalThis.reportError = (error) => record({ action: "exception", message: String(error) });
  Math.random = random;
  Date.now = () => nowMs;

  let lineside;
  const subscriptions = new Map();

  const deliver = (listener) => (data, { channel, cursor, resent = false }) =>
    record({ action: "message", listener, channel, cursor, resent, data });

  // Replaces all tags. A null tag is missing.
  const setTags = (given) => {
    tags = Object.fromEntries(Object.entries(given).filter(([, content]) => content !== null));
  };

  const calls = {
    load(givenSeed, atMs, givenTags) {
      seed = givenSeed | 0;
      nowMs = atMs;
      setTags(givenTags);
    },
    connect() {
      lineside = globalThis.connect();
      for (const type of ["lost", "refused", "status"])
        lineside.addEventListener(type, ({ detail }) => record({ action: type, ...detail }));
    },
    subscribe(listener, channel, token) {
      const options = token === null ? undefined : { token };
      subscriptions.set(listener, lineside.subscribe(channel, deliver(listener), options));
    },
    user(listener) {
      subscriptions.set(listener, lineside.user(deliver(listener)));
    },
    unsubscribe(listener) {
      subscriptions.get(listener).unsubscribe();
      subscriptions.delete(listener);
    },
    close() {
      lineside.close();
    },
    // Runs one due timer. Returns false, and advances the clock, if there is none up to that time.
    tick(atMs) {
      const due = dueTimer();
      if (due === undefined || due.atMs > atMs) {
        nowMs = Math.max(nowMs, atMs);
        return false;
      }
      timers.delete(due.id);
      nowMs = Math.max(nowMs, due.atMs);
      due.run();
      return true;
    },
    // Advances the clock without running timers, which then run late.
    sleep(untilMs) {
      nowMs = Math.max(nowMs, untilMs);
    },
    opened(number) {
      const socket = sockets.get(number);
      if (socket.readyState !== 0) return;
      socket.readyState = 1;
      socket.onopen?.();
    },
    received(number, text) {
      const socket = sockets.get(number);
      if (socket.readyState === 1) socket.onmessage?.({ data: text });
    },
    closed(number, code) {
      const socket = sockets.get(number);
      if (socket.readyState === 3) return;
      socket.readyState = 3;
      socket.onclose?.({ code });
    },
    // Answers with a status, and a token if it is 200. Status 0 is a network error.
    answered(number, status, token) {
      const { resolve, reject } = requests[number - 1];
      if (status === 0) reject(new TypeError("failed"));
      else resolve({ status, json: async () => ({ token }) });
    },
    network(online) {
      isOnline = online;
      page.dispatchEvent({ type: online ? "online" : "offline" });
    },
    visibility(state) {
      visibility = state;
      document.dispatchEvent({ type: "visibilitychange" });
    },
    // Moves the page into the back/forward cache, and out of it.
    hide() {
      page.dispatchEvent({ type: "pagehide" });
    },
    show() {
      page.dispatchEvent({ type: "pageshow" });
    },
    // Performs a Turbo visit: other tags in the same document.
    visit(givenTags) {
      setTags(givenTags);
      document.dispatchEvent({ type: "turbo:load" });
    },
  };

  globalThis.drive = (text) => {
    const [call, ...parameters] = JSON.parse(text);
    return calls[call](...parameters) === true;
  };

  globalThis.take = () => {
    const taken = { actions, due_ms: dueTimer()?.atMs ?? null, status: lineside?.status ?? null };
    actions = [];
    return JSON.stringify(taken);
  };
})();
