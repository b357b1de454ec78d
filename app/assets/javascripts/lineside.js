// A page's end of lineside-v1 (docs/protocol.md): one connection that comes back by itself, and of every subscription
// everything after its cursor, in order and once, or the word that some of it is lost.

// Each wait before another try is a random part of a span that doubles between these, so that pages come back spread out.
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 15_000;
// The longest that a server's `after_ms` is obeyed.
const AFTER_MS_MAX = 60_000;
// A page that is told `lost` and loads again may be told the same at once: while the app does not know where the sidecar
// stands, say. So one that is told within this of the page before it waits, twice as long as that one, between these.
const LOST_AGAIN_MS = 60_000;
const LOST_MS_MIN = 1_000;
const LOST_MS_MAX = 30_000;
// How long after a heartbeat is due the silence means that the line is dead.
const SILENCE_MS_MAX = 10_000;
// Seconds between heartbeats, until a welcome says how many there are.
const HEARTBEAT_SECONDS = 25;
// How long the app may take to answer with a token.
const TOKEN_MS_MAX = 10_000;
// A token is renewed no sooner than this after it came, however short it lives or wrong this clock is.
const RENEW_MS_MIN = 1_000;
// The longest that a browser's timer can wait.
const TIMER_MS_MAX = 2 ** 31 - 1;
// Channels that one `connect` may name; what is beyond them is subscribed to behind it.
const CONNECT_CHANNELS_MAX = 128;

// Where a listener stands. Asked: it hears nothing before its answer. Behind: a replay is on its way, so it has a cursor
// of its own. Live: the connection's cursor is its own.
const ASKED = 0;
const BEHIND = 1;
const LIVE = 2;

// Instead of a request's `ref`: asked by the connect, and refused.
const BY_CONNECT = 0;
const REFUSED = null;

const isFinal = (code) => code >= 4500 || [1002, 1003, 1007, 1009].includes(code);
const wantsToken = (code) => code >= 4000 && code < 4100;

const meta = (name) => globalThis.document?.querySelector(`meta[name="${name}"]`)?.content;

// Whether what stands at `cursor` is new to whoever has seen everything up to `seen`. Cursors of two epochs cannot be
// compared, and of those the one that comes later is newer.
function isNew(cursor, seen) {
  if (!seen) return true;
  const [[epoch, position], [seenEpoch, seenPosition]] = [cursor.split("."), seen.split(".")];
  return epoch !== seenEpoch || Number(position) > Number(seenPosition);
}

// The cursor that leaves out less; of two epochs, one that resumes as lost.
function lower(one, other) {
  if (!one || !other) return one || other;
  if (one.split(".")[0] !== other.split(".")[0]) return "unknown";
  return isNew(one, other) ? other : one;
}

// What a token says, to be trusted by nobody: {} when it cannot be read.
function claims(token) {
  try {
    const base64 = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

// How long this page waits to be told `lost`: known with the first time, over after it. The tab keeps when that was, for
// the same page when it is loaded again.
let lostWaitMs;
function lostWait() {
  if (lostWaitMs !== undefined) return lostWaitMs;
  lostWaitMs = 0;
  try {
    const now = Date.now();
    const key = `lineside.lost ${location.pathname}`;
    const [last, count] = (sessionStorage[key] ?? "0 0").split(" ").map(Number);
    const before = Math.abs(now - last) < LOST_AGAIN_MS ? count : 0;
    if (before > 0) lostWaitMs = Math.min(LOST_MS_MIN * 2 ** (before - 1), LOST_MS_MAX);
    sessionStorage[key] = `${now + lostWaitMs} ${before + 1}`;
    setTimeout(() => (lostWaitMs = 0), lostWaitMs);
  } catch {
    // A browser that keeps nothing for this page.
  }
  return lostWaitMs;
}

class Lineside extends EventTarget {
  #url;
  #givenTokenUrl;
  #token;
  // The token last seen in the page, null for a page of nobody's; undefined when the app gave one itself.
  #pageToken;
  #user;
  #givenCursor;
  // Everything up to here was heard, on every channel without a listener that is asked or behind.
  #cursor;
  #listeners = new Set();
  #refs = 0;
  #isAsking = false;

  #status = "connecting";
  #socket;
  // Counts what supersedes an attempt that is still waiting for its token.
  #attempt = 0;
  #isPaused = false;
  #life = new AbortController();
  #failures = 0;
  #notBefore = 0;
  #heartbeatMs = HEARTBEAT_SECONDS * 1000;
  #heardAt;
  #watchdog;
  #retryTimer;
  #renewTimer;
  #renewAt = Infinity;

  constructor({ url = meta("lineside-url"), token, tokenUrl, cursor }) {
    super();
    if (!url) throw new Error("lineside: no url; give connect({ url }), or render lineside_meta_tags into the page");
    const { href } = new URL(url, globalThis.location?.href);
    this.#url = href.replace(/^http/, "ws");
    this.#givenTokenUrl = tokenUrl;
    if (token === undefined) this.#pageToken = (token = meta("lineside-token")) ?? null;
    this.#takeToken(token);
    this.#givenCursor = cursor;
    this.#cursor = this.#pageCursor();
    this.#followPage();
    this.#open();
  }

  get status() {
    return this.#status;
  }

  subscribe(channel, fn, { token, after = this.#pageCursor() } = {}) {
    return this.#listen({ channel, fn, token, cursor: after ?? this.#cursor });
  }

  user(fn, { after = this.#pageCursor() } = {}) {
    return this.#listen({ fn, cursor: after ?? this.#cursor });
  }

  close() {
    this.#life.abort();
    this.#listeners.clear();
    this.#stop("closed");
  }

  // Subscriptions

  // A Turbo visit renders another page into the same document, so its tags are read each time.
  get #tokenUrl() {
    return this.#givenTokenUrl ?? meta("lineside-token-url");
  }

  #pageCursor() {
    return this.#givenCursor === undefined ? (meta("lineside-cursor") ?? "unknown") : this.#givenCursor;
  }

  #channel(listener) {
    return listener.channel ?? (this.#user == null ? undefined : `user:${this.#user}`);
  }

  #of(channel) {
    return [...this.#listeners].filter((listener) => this.#channel(listener) === channel);
  }

  #listen(listener) {
    const isHeard = this.#of(this.#channel(listener)).some(({ state }) => state === LIVE);
    const isBehind = !listener.cursor || isNew(this.#cursor ?? "", listener.cursor);
    listener.state = isHeard && !isBehind ? LIVE : ASKED;
    this.#listeners.add(listener);
    this.#ask();
    return { unsubscribe: () => this.#leave(listener) };
  }

  #leave(listener) {
    const channel = this.#channel(listener);
    if (this.#listeners.delete(listener) && channel && this.#of(channel).length === 0)
      this.#send({ type: "unsubscribe", channel });
  }

  // Asks for what was not asked for on this socket, once the code that subscribes has run to its end.
  #ask() {
    if (this.#isAsking) return;
    this.#isAsking = true;
    queueMicrotask(() => {
      this.#isAsking = false;
      if (this.#socket?.readyState !== 1) return;
      for (const [channel, listeners] of this.#channels(({ state, ref }) => state === ASKED && ref === undefined))
        this.#send({ type: "subscribe", ...this.#entry(channel, listeners, ++this.#refs), ref: this.#refs });
    });
  }

  // The listeners that are `wanted`, by the name of their channel.
  #channels(wanted) {
    const channels = new Map();
    for (const listener of this.#listeners) {
      const channel = this.#channel(listener);
      if (channel && wanted(listener)) channels.set(channel, [...(channels.get(channel) ?? []), listener]);
    }
    return channels;
  }

  // What names a channel in a request: after the lowest cursor of those that have one of their own.
  #entry(channel, listeners, ref) {
    let after;
    for (const listener of listeners) {
      if (listener.state === ASKED) listener.ref = ref;
      after = lower(after, listener.state === ASKED ? listener.cursor : this.#cursor);
    }
    const token = this.#of(channel).findLast((listener) => listener.token)?.token;
    return { channel, token, after: after ?? undefined };
  }

  #connect() {
    for (const listener of this.#listeners) {
      listener.ref = undefined;
      if (listener.state === BEHIND) listener.state = ASKED;
    }
    const channels = [...this.#channels(() => true)];
    const subscribe = channels
      .splice(0, CONNECT_CHANNELS_MAX)
      .map(([channel, listeners]) => this.#entry(channel, listeners, BY_CONNECT));
    for (const [, listeners] of channels) listeners.forEach((listener) => this.#toAsked(listener));
    this.#send({ type: "connect", token: this.#token, after: this.#cursor ?? undefined, subscribe });
    this.#ask();
  }

  // A live listener that has to ask again has heard what the connection has.
  #toAsked(listener) {
    if (listener.state === LIVE && this.#cursor && isNew(this.#cursor, listener.cursor)) listener.cursor = this.#cursor;
    listener.state = ASKED;
  }

  // Takes a listener to where the server's answer puts it.
  #answered(listener, isLost, { cursor, recovered }) {
    const isReplayed = !isLost && recovered !== undefined && listener.state === ASKED && listener.cursor;
    if (isLost) listener.cursor = cursor;
    listener.state = isReplayed ? BEHIND : LIVE;
  }

  // The connection may have come past what was never sent of a channel: who is refused keeps a cursor of its own.
  #refused(listeners, channel, code, message) {
    for (const listener of listeners) Object.assign(listener, { state: ASKED, ref: REFUSED });
    this.#emit("refused", { channel, code, message });
  }

  // Only what somebody listens to has to be fetched anew.
  #lost(channels, afterMs = 0) {
    const heard = () => channels.filter((channel) => this.#of(channel).length > 0);
    const tell = () => heard().length > 0 && this.#emit("lost", { channels: heard() });
    const waitMs = heard().length > 0 ? Math.max(afterMs, lostWait()) : afterMs;
    if (waitMs > 0) setTimeout(tell, waitMs);
    else tell();
  }

  // Envelopes

  #hear(it) {
    this.#watch();
    switch (it.type) {
      case "welcome":
        return this.#welcome(it);
      case "message":
        return this.#message(it);
      case "caught_up":
        for (const listener of it.channel === undefined ? this.#listeners : this.#of(it.channel))
          if (listener.state === BEHIND && (listener.ref === BY_CONNECT) === (it.channel === undefined)) listener.state = LIVE;
        return this.#reach(it.cursor);
      case "subscribed":
        for (const listener of this.#askedBy(it.ref)) this.#answered(listener, it.recovered === false, it);
        return it.recovered === false && this.#lost([it.channel]);
      case "unsubscribed":
        // Unasked, the right to it has ended; those that have asked again get an answer of their own.
        return it.code && this.#refused(this.#of(it.channel).filter(({ state }) => state !== ASKED), it.channel, it.code);
      case "refreshed":
        for (const listener of this.#askedBy(REFUSED)) listener.ref = undefined;
        return this.#ask();
      case "error":
        if (it.code === "other_user") return this.#restart();
        return it.channel && this.#refused(this.#askedBy(it.ref), it.channel, it.code, it.message);
      case "lost":
        this.#reach(it.cursor);
        for (const listener of it.channels.flatMap((channel) => this.#of(channel)))
          if (listener.state !== ASKED) this.#answered(listener, true, it);
        return this.#lost(it.channels, Math.min(it.after_ms ?? 0, AFTER_MS_MAX));
      case "ping":
        this.#reach(it.cursor);
        return this.#send({ type: "pong", cursor: it.cursor });
      case "disconnect":
        this.#notBefore = Date.now() + Math.min(it.after_ms ?? 0, AFTER_MS_MAX);
    }
  }

  #welcome(it) {
    this.#failures = 0;
    this.#heartbeatMs = it.heartbeat * 1000;
    this.#reach(it.cursor);
    this.#takeUser(it.user);
    const refused = new Map(it.refused.map((refusal) => [refusal.channel, refusal]));
    const lost = it.lost ?? [];
    for (const [channel, listeners] of this.#channels(({ state, ref }) => state === LIVE || ref === BY_CONNECT)) {
      if (refused.has(channel)) this.#refused(listeners, channel, refused.get(channel).code);
      else for (const listener of listeners) this.#answered(listener, lost.includes(channel), it);
    }
    this.#setStatus("open");
    this.#lost(lost);
    this.#ask();
  }

  #message(it) {
    const listeners = this.#of(it.channel);
    if (!listeners.some(({ state }) => state === BEHIND)) this.#reach(it.cursor);
    for (const listener of listeners) {
      if (listener.state === ASKED || !this.#listeners.has(listener) || !isNew(it.cursor, listener.cursor)) continue;
      listener.cursor = it.cursor;
      try {
        listener.fn(it.data, it);
      } catch (error) {
        // A listener's fault is the app's to see, and keeps nothing from the others.
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }

  #askedBy(ref) {
    return [...this.#listeners].filter((listener) => listener.state === ASKED && listener.ref === ref && ref !== undefined);
  }

  #reach(cursor) {
    if (isNew(cursor, this.#cursor)) this.#cursor = cursor;
  }

  // The connection

  async #open() {
    const attempt = ++this.#attempt;
    this.#retryTimer = clearTimeout(this.#retryTimer);
    this.#setStatus("connecting");
    if (this.#tokenUrl && Date.now() >= this.#renewAt) {
      const token = await this.#fetchToken();
      if (attempt !== this.#attempt) return;
      if (token === undefined) return this.#ended(1006);
      if (token === null) return this.#stop("stopped");
      this.#takeToken(token, true);
    }
    const socket = new WebSocket(this.#url, "lineside-v1");
    this.#socket = socket;
    socket.onopen = () => this.#connect();
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    socket.onclose = ({ code }) => this.#ended(code);
    this.#watch();
  }

  // Lets go of the socket: what it still says or does concerns nobody, and a dead one takes its time to close.
  #drop() {
    this.#attempt++;
    clearTimeout(this.#watchdog);
    this.#retryTimer = clearTimeout(this.#retryTimer);
    const socket = this.#socket;
    this.#socket = undefined;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #restart() {
    this.#renewAt = 0;
    this.#drop();
    this.#open();
  }

  #ended(code) {
    if (this.#isOver()) return;
    this.#drop();
    // Without a place to get another token, the same one would end the same.
    if (isFinal(code) || (wantsToken(code) && !this.#tokenUrl)) return this.#stop("stopped", code);
    if (wantsToken(code)) this.#renewAt = 0;
    this.#retry(Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.#failures++), code);
  }

  #retry(spanMs, code) {
    const waitMs = Math.max(0, this.#notBefore - Date.now()) + Math.random() * spanMs;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#open(), waitMs);
    this.#setStatus(globalThis.navigator?.onLine === false ? "offline" : "waiting", { code, waitMs });
  }

  #stop(status, code) {
    this.#drop();
    clearTimeout(this.#renewTimer);
    this.#setStatus(status, { code });
  }

  #send(frame) {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(frame));
  }

  #watch() {
    this.#heardAt = Date.now();
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#ended(1006), this.#heartbeatMs + SILENCE_MS_MAX);
  }

  #setStatus(status, detail) {
    if (status === this.#status && !detail) return;
    this.#status = status;
    this.#emit("status", { status, ...detail });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  // Tokens

  // `isFresh`: it was signed just now, so that this clock need not be right.
  #takeToken(token, isFresh = false) {
    const { sub = null, iat, exp } = claims(token);
    this.#token = token || undefined;
    this.#takeUser(exp && sub);
    clearTimeout(this.#renewTimer);
    this.#renewAt = Infinity;
    if (!this.#tokenUrl || !exp) return;
    const lifeMs = (exp - iat) * 1000;
    const leftMs = isFresh ? lifeMs : Math.min(lifeMs, exp * 1000 - Date.now());
    const waitMs = Math.min(TIMER_MS_MAX, Math.max(RENEW_MS_MIN, leftMs * (0.7 + 0.2 * Math.random())));
    this.#renewAt = Date.now() + waitMs;
    this.#renewTimer = setTimeout(() => this.#renew(), waitMs);
  }

  // What the page shows of one user's channel says nothing about another's: that is lost, and fetched anew.
  #takeUser(user) {
    const before = this.#user;
    this.#user = user;
    if (before === undefined || before === user) return;
    for (const listener of this.#listeners)
      if (listener.channel === undefined) Object.assign(listener, { state: ASKED, ref: undefined, cursor: "unknown" });
  }

  async #renew() {
    // Whoever is not connected fetches one before connecting.
    if (this.#status !== "open") return;
    const attempt = this.#attempt;
    const token = await this.#fetchToken();
    if (attempt !== this.#attempt) return;
    if (token === null) return this.#stop("stopped");
    if (token) return this.#replaceToken(token, true);
    this.#renewTimer = setTimeout(() => this.#renew(), RETRY_MS_MAX * (0.5 + Math.random() / 2));
  }

  // A fresh token for the same user goes over the same connection.
  #replaceToken(token, isFresh) {
    const user = this.#user;
    this.#takeToken(token, isFresh);
    const isSame = this.#user === user;
    if (isSame && this.#status === "open") return this.#send({ type: "refresh", token, ref: ++this.#refs });
    // Who waits to come back takes it along.
    if (isSame && this.#retryTimer) return;
    this.#drop();
    this.#open();
  }

  // The app's answer: a token, null when nobody is signed in, undefined when it is worth another try.
  async #fetchToken() {
    try {
      const response = await fetch(this.#tokenUrl, {
        method: "POST",
        headers: { Accept: "application/json", "X-CSRF-Token": meta("csrf-token") ?? "" },
        // A sign-in form instead of a token is an answer too.
        redirect: "manual",
        signal: AbortSignal.timeout(TOKEN_MS_MAX),
      });
      if (response.status >= 500 || [408, 429].includes(response.status)) return undefined;
      return response.status === 200 ? (await response.json()).token : null;
    } catch {
      return undefined;
    }
  }

  // The page

  #followPage() {
    const { document } = globalThis;
    const { signal } = this.#life;
    const on = (target, type, act) => target?.addEventListener?.(type, act, { signal });
    on(globalThis, "online", () => this.#wake());
    on(globalThis, "offline", () => this.#socket && this.#ended(1006));
    on(document, "visibilitychange", () => document.visibilityState === "visible" && this.#wake());
    on(document, "resume", () => this.#wake());
    on(globalThis, "pagehide", () => this.#pause());
    on(globalThis, "pageshow", () => this.#unpause());
    on(document, "turbo:load", () => this.#visit());
  }

  #isOver() {
    return this.#status === "stopped" || this.#status === "closed";
  }

  // After sleep, or when the network is back, nobody waits for a backoff or a watchdog to end.
  #wake() {
    if (this.#isOver() || this.#isPaused) return;
    if (this.#retryTimer) this.#retry(RETRY_MS_MIN);
    else if (this.#socket && Date.now() - this.#heardAt > this.#heartbeatMs + SILENCE_MS_MAX) this.#ended(1006);
  }

  // A page with an open socket is not kept for going back to.
  #pause() {
    if (this.#isOver()) return;
    this.#isPaused = true;
    this.#drop();
    this.#setStatus("waiting");
  }

  // Somebody else may have signed in since, so the app is asked who it is.
  #unpause() {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#restart();
  }

  // A Turbo visit brings the token of the page that it shows: for its channels, and perhaps for another user.
  #visit() {
    const token = meta("lineside-token");
    if (this.#pageToken === undefined || !token || token === this.#pageToken) return;
    this.#pageToken = token;
    const [page, held] = [claims(token), claims(this.#token)];
    if (page.sub !== held.sub && this.#tokenUrl) {
      // The app may know another user by now; what this page shows is this one's.
      this.#takeToken(token);
      this.#restart();
    } else if (page.sub !== held.sub || page.iat_ms > held.iat_ms) this.#replaceToken(token, false);
  }
}

// Opens a connection. What is not given is read from the page's tags, which `lineside_meta_tags` renders.
export function connect(options = {}) {
  return new Lineside(options);
}
