// Browser client of lineside-v1 (docs/protocol.md). Keeps one connection and reconnects by itself. Each subscription
// receives everything after its cursor, in order and once, or a `lost` event.

// Limits of the back-off before a reconnect. Each delay is a random part of a span that doubles, so that pages
// reconnect spread out.
const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 15_000;
// First span of the back-off after a connection broke that was open for LASTING_MS. A restart of a proxy breaks those of
// all pages at once, and gives no `after_ms`.
const BROKEN_MS_MAX = 3_000;
const LASTING_MS = 10_000;
// Maximum `after_ms` accepted from the server.
const AFTER_MS_MAX = 60_000;
// A page that reloads on `lost` can receive `lost` again at once, for example while the app has no link to the sidecar.
// To avoid a reload loop, a second `lost` of the same page within LOST_AGAIN_MS is delayed, and each further one twice
// as long, between these limits.
const LOST_AGAIN_MS = 60_000;
const LOST_MS_MIN = 1_000;
const LOST_MS_MAX = 30_000;
// Silence after a heartbeat was due until the connection counts as broken.
const SILENCE_MS_MAX = 10_000;
// Seconds between heartbeats, until the welcome names them.
const HEARTBEAT_SECONDS = 25;
// Time-out of a request for a token.
const TOKEN_MS_MAX = 10_000;
// Minimum delay before a token is renewed, whatever its lifetime and this machine's clock.
const RENEW_MS_MIN = 1_000;
// Maximum delay of a browser's timer.
const TIMER_MS_MAX = 2 ** 31 - 1;
// Close code of a socket that could not be opened, or broke.
const ABNORMAL = 1006;
// Maximum number of channels in one `connect`. The others are subscribed right after it.
const CONNECT_CHANNELS_MAX = 128;

// State of a listener. Requested: waits for the server's answer and receives nothing. Replaying: receives a replay and
// has a cursor of its own. Live: shares the connection's cursor.
const REQUESTED = 0;
const REPLAYING = 1;
const LIVE = 2;

// Values of a listener's `ref` other than the number of a `subscribe`: requested by the connect, or refused.
const BY_CONNECT = 0;
const REFUSED = null;

const isFinal = (code) => code >= 4500 || [1002, 1003, 1007, 1009].includes(code);
const wantsToken = (code) => code >= 4000 && code < 4100;

const warn = (text) => globalThis.console?.warn(`lineside: ${text}`);

const meta = (name) => globalThis.document?.querySelector(`meta[name="${name}"]`)?.content;

// Whether `cursor` is after `seen`. Cursors of different epochs cannot be compared: the one received later is newer.
function isNew(cursor, seen) {
  if (!seen) return true;
  const [[epoch, position], [seenEpoch, seenPosition]] = [cursor.split("."), seen.split(".")];
  return epoch !== seenEpoch || Number(position) > Number(seenPosition);
}

// Returns the earlier of two cursors; "unknown", which resumes as lost, if their epochs differ.
function lower(one, other) {
  if (!one || !other) return one || other;
  if (one.split(".")[0] !== other.split(".")[0]) return "unknown";
  return isNew(one, other) ? other : one;
}

// Claims of a token, not verified; {} if the token cannot be parsed.
function claims(token) {
  try {
    const base64 = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return {};
  }
}

// Delay of a `lost` event, in milliseconds. Computed at the first `lost` of this page load or Turbo visit, and zero after
// that delay.
// sessionStorage keeps the time of the last `lost` and the number of them for the next load of the same page.
let lostDelayMs;
function lostDelay() {
  if (lostDelayMs !== undefined) return lostDelayMs;
  lostDelayMs = 0;
  try {
    const now = Date.now();
    const key = `lineside.lost ${location.pathname}`;
    const [last, count] = (sessionStorage[key] ?? "0 0").split(" ").map(Number);
    const before = Math.abs(now - last) < LOST_AGAIN_MS ? count : 0;
    if (before > 0) lostDelayMs = Math.min(LOST_MS_MIN * 2 ** (before - 1), LOST_MS_MAX);
    setTimeout(() => (lostDelayMs = 0), lostDelayMs);
    sessionStorage[key] = `${now + lostDelayMs} ${before + 1}`;
  } catch {
    // No sessionStorage, or a full one.
  }
  return lostDelayMs;
}

// Loads the page again, unless this very page has been loaded again for the same reason. A cache or a service worker that
// returns the same page would otherwise cause a loop.
function reloadOnce(reason, page) {
  try {
    const key = `lineside.${reason} ${location.pathname}${location.search}`;
    if (sessionStorage[key] === page) return warn("a reload returned the same page, from a cache or a service worker");
    sessionStorage[key] = page;
    location.reload();
  } catch {
    // No sessionStorage: no reload.
    warn("this page is out of date: load it again");
  }
}

class Lineside extends EventTarget {
  #url;
  #givenTokenUrl;
  #token;
  // Token last read from the page's tag; null if the page has none, undefined if the app passed a token itself.
  #pageToken;
  #pageTokenUrl;
  #permit;
  #user;
  #givenCursor;
  // Position up to which everything was received, on each channel whose listeners are all live.
  #cursor;
  #listeners = new Set();
  #refs = 0;
  #isRequesting = false;

  #status = "connecting";
  #socket;
  // Number of the current connection attempt. An attempt that waits for a token gives up if the number has changed.
  #attempt = 0;
  #isPaused = false;
  // Whether a socket was open, or its failure was reported.
  #wasOpen = false;
  #life = new AbortController();
  // Connections since one that lasted.
  #failures = 0;
  // Tokens that the server refused since its last welcome.
  #refusals = 0;
  #openedAt = 0;
  #notBefore = 0;
  #heartbeatMs = HEARTBEAT_SECONDS * 1000;
  #receivedAt;
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
    this.#setToken(token);
    this.#givenCursor = cursor;
    this.#cursor = this.#pageCursor();
    this.#followPage();
    this.#open();
  }

  get status() {
    return this.#status;
  }

  subscribe(channel, fn, { token, after = this.#pageCursor() } = {}) {
    if (typeof channel !== "string" || channel === "") {
      warn(`subscribe(${JSON.stringify(channel)}) has no channel: give its full name, for example from lineside_channel`);
      return { unsubscribe: () => {} };
    }
    if (typeof fn !== "function") warn(`subscribe("${channel}") has no function: subscribe("${channel}", (data) => …)`);
    return this.#add({ channel, fn, token, cursor: after ?? this.#cursor });
  }

  user(fn, { after = this.#pageCursor() } = {}) {
    return this.#add({ fn, cursor: after ?? this.#cursor });
  }

  reload() {
    reloadOnce("lost", this.#pageCursor());
  }

  close() {
    this.#life.abort();
    this.#listeners.clear();
    this.#stop("closed");
  }

  // Subscriptions

  // Read from the page's tags each time, because a Turbo visit replaces them. A page without tags keeps the last ones.
  get #tokenUrl() {
    const url = meta("lineside-token-url");
    if (url || meta("lineside-token")) [this.#pageTokenUrl, this.#permit] = [url, meta("lineside-permit")];
    return this.#givenTokenUrl ?? this.#pageTokenUrl;
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

  #add(listener) {
    const isLive = this.#of(this.#channel(listener)).some(({ state }) => state === LIVE);
    const needsReplay = isNew(this.#cursor ?? "", listener.cursor);
    listener.state = isLive && !needsReplay ? LIVE : REQUESTED;
    this.#listeners.add(listener);
    this.#requestSubscriptions();
    return { unsubscribe: () => this.#remove(listener) };
  }

  #remove(listener) {
    const channel = this.#channel(listener);
    if (this.#listeners.delete(listener) && channel && this.#of(channel).length === 0)
      this.#send({ type: "unsubscribe", channel });
  }

  // Sends `subscribe` for each channel not yet requested on this socket. Runs in a microtask, so that listeners added
  // together share one request.
  #requestSubscriptions() {
    if (this.#isRequesting) return;
    this.#isRequesting = true;
    queueMicrotask(() => {
      this.#isRequesting = false;
      if (this.#socket?.readyState !== 1) return;
      for (const [channel, listeners] of this.#channels(({ state, ref }) => state === REQUESTED && ref === undefined))
        this.#send({ type: "subscribe", ...this.#entry(channel, listeners, ++this.#refs), ref: this.#refs });
    });
  }

  // Listeners for which `isWanted`, grouped by channel.
  #channels(isWanted) {
    const channels = new Map();
    for (const listener of this.#listeners) {
      const channel = this.#channel(listener);
      if (channel && isWanted(listener)) channels.set(channel, [...(channels.get(channel) ?? []), listener]);
    }
    return channels;
  }

  // Entry of a channel in a `connect` or `subscribe`, with the lowest cursor of its listeners.
  #entry(channel, listeners, ref) {
    let after;
    for (const listener of listeners) {
      if (listener.state === REQUESTED) listener.ref = ref;
      after = lower(after, listener.state === REQUESTED ? listener.cursor : this.#cursor);
    }
    const token = this.#of(channel).findLast((listener) => listener.token)?.token;
    return { channel, token, after: after ?? undefined };
  }

  #connect() {
    for (const listener of this.#listeners) {
      listener.ref = undefined;
      if (listener.state === REPLAYING) listener.state = REQUESTED;
    }
    const channels = [...this.#channels(() => true)];
    const subscribe = channels
      .splice(0, CONNECT_CHANNELS_MAX)
      .map(([channel, listeners]) => this.#entry(channel, listeners, BY_CONNECT));
    for (const [, listeners] of channels) listeners.forEach((listener) => this.#toRequested(listener));
    this.#send({ type: "connect", token: this.#token, after: this.#cursor ?? undefined, subscribe });
    this.#requestSubscriptions();
  }

  // Marks a listener as requested. A live one continues at the connection's cursor.
  #toRequested(listener) {
    if (listener.state === LIVE && this.#cursor && isNew(this.#cursor, listener.cursor)) listener.cursor = this.#cursor;
    listener.state = REQUESTED;
  }

  // Sets the state of a listener after the server's answer.
  #applyAnswer(listener, isLost, { cursor, recovered }) {
    const isReplayed = !isLost && recovered !== undefined && listener.state === REQUESTED && listener.cursor;
    if (isLost) listener.cursor = cursor;
    listener.state = isReplayed ? REPLAYING : LIVE;
  }

  // Marks listeners as refused. They keep their own cursor, because the connection's may pass messages that they
  // missed.
  #refuse(listeners, channel, code, message) {
    for (const listener of listeners) Object.assign(listener, { state: REQUESTED, ref: REFUSED });
    const cure = code === "forbidden" ? "; add it to lineside_meta_tags channels:" : "";
    if (this.#emit("refused", { channel, code, message })) warn(`"${channel}" is refused (${message ?? code})${cure}`);
  }

  // Emits `lost` for the channels that have a listener, delayed if necessary.
  #emitLost(channels, afterMs = 0) {
    const subscribed = () => channels.filter((channel) => this.#of(channel).length > 0);
    const emit = () => subscribed().length > 0 && this.#emit("lost", { channels: subscribed() });
    const waitMs = subscribed().length > 0 ? Math.max(afterMs, lostDelay()) : afterMs;
    if (waitMs > 0) setTimeout(emit, waitMs);
    else emit();
  }

  // Envelopes

  #receive(it) {
    this.#restartWatchdog();
    switch (it.type) {
      case "welcome":
        return this.#welcome(it);
      case "message":
        return this.#message(it);
      case "caught_up":
        for (const listener of it.channel === undefined ? this.#listeners : this.#of(it.channel))
          if (listener.state === REPLAYING && (listener.ref === BY_CONNECT) === (it.channel === undefined))
            listener.state = LIVE;
        return this.#advance(it.cursor);
      case "subscribed":
        for (const listener of this.#requestedBy(it.ref)) this.#applyAnswer(listener, it.recovered === false, it);
        return it.recovered === false && this.#emitLost([it.channel]);
      case "unsubscribed":
        // With a code, the permission ended. Listeners with a new request under way get an answer of their own.
        if (!it.code) return;
        return this.#refuse(this.#of(it.channel).filter(({ state }) => state !== REQUESTED), it.channel, it.code);
      case "refreshed":
        for (const listener of this.#requestedBy(REFUSED)) listener.ref = undefined;
        return this.#requestSubscriptions();
      case "error":
        if (it.code === "other_user") return this.#restart();
        return it.channel && this.#refuse(this.#requestedBy(it.ref), it.channel, it.code, it.message);
      case "lost":
        this.#advance(it.cursor);
        for (const listener of it.channels.flatMap((channel) => this.#of(channel)))
          if (listener.state !== REQUESTED) this.#applyAnswer(listener, true, it);
        return this.#emitLost(it.channels, Math.min(it.after_ms ?? 0, AFTER_MS_MAX));
      case "ping":
        this.#advance(it.cursor);
        return this.#send({ type: "pong", cursor: it.cursor });
      case "disconnect":
        this.#notBefore = Date.now() + Math.min(it.after_ms ?? 0, AFTER_MS_MAX);
    }
  }

  #welcome(it) {
    this.#refusals = 0;
    this.#openedAt = Date.now();
    this.#heartbeatMs = it.heartbeat * 1000;
    this.#advance(it.cursor);
    this.#setUser(it.user);
    const refused = new Map(it.refused.map((refusal) => [refusal.channel, refusal]));
    const lost = it.lost ?? [];
    for (const [channel, listeners] of this.#channels(({ state, ref }) => state === LIVE || ref === BY_CONNECT)) {
      if (refused.has(channel)) this.#refuse(listeners, channel, refused.get(channel).code);
      else for (const listener of listeners) this.#applyAnswer(listener, lost.includes(channel), it);
    }
    this.#setStatus("open");
    this.#emitLost(lost);
    this.#requestSubscriptions();
  }

  #message(it) {
    const listeners = this.#of(it.channel);
    if (!listeners.some(({ state }) => state === REPLAYING)) this.#advance(it.cursor);
    for (const listener of listeners) {
      if (listener.state === REQUESTED || !this.#listeners.has(listener) || !isNew(it.cursor, listener.cursor)) continue;
      listener.cursor = it.cursor;
      try {
        listener.fn(it.data, it);
      } catch (error) {
        // Reported, so that the other listeners still receive the message.
        (globalThis.reportError ?? console.error)(error);
      }
    }
  }

  #requestedBy(ref) {
    if (ref === undefined) return [];
    return [...this.#listeners].filter((listener) => listener.state === REQUESTED && listener.ref === ref);
  }

  #advance(cursor) {
    if (isNew(cursor, this.#cursor)) this.#cursor = cursor;
  }

  // The connection

  async #open() {
    const attempt = ++this.#attempt;
    this.#retryTimer = clearTimeout(this.#retryTimer);
    this.#setStatus("connecting");
    // A listener has called `close`.
    if (attempt !== this.#attempt) return;
    if (this.#tokenUrl && Date.now() >= this.#renewAt) {
      const token = await this.#fetchToken();
      if (attempt !== this.#attempt) return;
      if (token === undefined) return this.#disconnected(ABNORMAL);
      if (this.#isEnded(token)) return this.#leave();
      this.#setToken(token, true);
    }
    let socket;
    try {
      socket = new WebSocket(this.#url, "lineside-v1");
    } catch ({ message }) {
      return this.#stop("stopped", ABNORMAL, `${message} A page on https needs wss://: set config.lineside.url`);
    }
    this.#socket = socket;
    socket.onopen = () => {
      this.#wasOpen = true;
      this.#connect();
    };
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = ({ code }) => this.#disconnected(code);
    this.#restartWatchdog();
  }

  // Abandons the socket. Its handlers are removed, because a broken socket can take long to close.
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

  // Schedules a reconnect, or stops. `spanMs`: span of the delay, by default the back-off.
  #disconnected(code, spanMs) {
    if (this.#isFinished()) return;
    const hasLasted = this.#status === "open" && Date.now() - this.#openedAt >= LASTING_MS;
    if (hasLasted) this.#failures = 0;
    this.#drop();
    // Without a token URL, the same token would be refused again.
    if (isFinal(code) || (wantsToken(code) && !this.#tokenUrl))
      return this.#stop("stopped", code, `stopped with code ${code} (docs/codes.md)`);
    if (!this.#wasOpen && globalThis.navigator?.onLine !== false) {
      this.#wasOpen = true;
      warn(`cannot connect to ${this.#url}: open ${this.#url.replace(/^ws/, "http")} or the app's log for the reason`);
    }
    if (wantsToken(code)) {
      this.#renewAt = 0;
      if (++this.#refusals === 2) warn(`a fresh token is refused with code ${code} (docs/codes.md): run lineside check`);
    }
    const backOffMs = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.#failures++);
    this.#retry(spanMs ?? (hasLasted && code === ABNORMAL ? BROKEN_MS_MAX : backOffMs), code);
  }

  #retry(spanMs, code) {
    // The clock may have been set back since.
    const afterMs = Math.min(AFTER_MS_MAX, Math.max(0, this.#notBefore - Date.now()));
    const waitMs = afterMs + Math.random() * spanMs;
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#open(), waitMs);
    this.#setStatus(globalThis.navigator?.onLine === false ? "offline" : "waiting", { code, waitMs });
  }

  // Returns whether no listener has prevented the default.
  #stop(status, code, reason) {
    this.#drop();
    clearTimeout(this.#renewTimer);
    const isDefault = this.#setStatus(status, { code });
    if (isDefault && reason) warn(reason);
    return isDefault;
  }

  // Whether the page's user is no longer signed in. A token that the app itself passed can be followed by one of another
  // user.
  #isEnded(token) {
    return token === null || (this.#pageToken && claims(token).sub !== claims(this.#token).sub);
  }

  // Loads the page again, because it shows the data of a user who has signed out. A Turbo visit to a page without tags has
  // replaced that data, for example by the form to sign in.
  #leave() {
    const page = (this.#pageToken ?? this.#token ?? "").slice(-43);
    if (!this.#stop("stopped") || (this.#pageToken && !meta("lineside-token"))) return;
    const waitMs = lostDelay();
    if (waitMs > 0) setTimeout(() => reloadOnce("user", page), waitMs);
    else reloadOnce("user", page);
  }

  #send(frame) {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(frame));
  }

  #restartWatchdog() {
    this.#receivedAt = Date.now();
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#disconnected(ABNORMAL), this.#heartbeatMs + SILENCE_MS_MAX);
  }

  #setStatus(status, detail) {
    if (this.#status === "closed" || (status === this.#status && !detail)) return;
    this.#status = status;
    return this.#emit("status", { status, ...detail });
  }

  // Returns whether no listener has prevented the default.
  #emit(type, detail) {
    return this.dispatchEvent(new CustomEvent(type, { detail, cancelable: true }));
  }

  // Tokens

  // Stores a token and schedules its renewal. `isFresh`: signed just now, so its lifetime counts from now, whatever
  // this machine's clock.
  #setToken(token, isFresh = false) {
    const { sub = null, iat, exp } = claims(token);
    this.#token = token || undefined;
    // The token of a page comes with the page's data, up to the page's cursor.
    this.#setUser(exp && sub, isFresh ? "unknown" : this.#pageCursor());
    clearTimeout(this.#renewTimer);
    this.#renewAt = Infinity;
    if (!this.#tokenUrl || !exp) return;
    const lifeMs = (exp - iat) * 1000;
    const leftMs = isFresh ? lifeMs : Math.min(lifeMs, exp * 1000 - Date.now());
    const waitMs = Math.min(TIMER_MS_MAX, Math.max(RENEW_MS_MIN, leftMs * (0.7 + 0.2 * Math.random())));
    this.#renewAt = Date.now() + waitMs;
    this.#renewTimer = setTimeout(() => this.#renew(), waitMs);
  }

  // Sets the user. If the user changes, listeners of the user's channel continue after the cursor. By default they resume
  // as lost, because their data is of another user.
  #setUser(user, cursor = "unknown") {
    const before = this.#user;
    this.#user = user;
    if (before === undefined || before === user) return;
    for (const listener of this.#listeners)
      if (listener.channel === undefined) Object.assign(listener, { state: REQUESTED, ref: undefined, cursor });
  }

  async #renew() {
    // Without an open connection, the token is fetched before the next attempt.
    if (this.#status !== "open") return;
    const attempt = this.#attempt;
    const token = await this.#fetchToken();
    if (attempt !== this.#attempt) return;
    if (token !== undefined && this.#isEnded(token)) return this.#leave();
    if (token) return this.#replaceToken(token, true);
    this.#renewTimer = setTimeout(() => this.#renew(), RETRY_MS_MAX * (0.5 + Math.random() / 2));
  }

  // Uses another token: sent on the open connection if it is of the same user, otherwise with a new connection.
  #replaceToken(token, isFresh) {
    const user = this.#user;
    this.#setToken(token, isFresh);
    const isSame = this.#user === user;
    if (isSame && this.#status === "open") return this.#send({ type: "refresh", token, ref: ++this.#refs });
    // A scheduled reconnect will send it.
    if (isSame && this.#retryTimer) return;
    this.#drop();
    this.#open();
  }

  // Fetches a token from the app. Returns null if nobody is signed in, undefined if the request should be retried.
  async #fetchToken() {
    const url = this.#tokenUrl;
    const headers = { Accept: "application/json", "X-CSRF-Token": meta("csrf-token") ?? "" };
    const permit = this.#givenTokenUrl ? undefined : this.#permit;
    if (permit) headers["Content-Type"] = "application/x-www-form-urlencoded";
    try {
      const response = await fetch(url, {
        method: "POST",
        headers,
        body: permit && `lineside_permit=${encodeURIComponent(permit)}`,
        // A redirect to a sign-in form means that nobody is signed in.
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
    on(globalThis, "online", () => this.#reconnectSoon());
    on(globalThis, "offline", () => this.#socket && this.#disconnected(ABNORMAL));
    on(document, "visibilitychange", () => document.visibilityState === "visible" && this.#reconnectSoon());
    on(document, "resume", () => this.#reconnectSoon());
    on(globalThis, "pagehide", () => this.#pause());
    on(globalThis, "pageshow", () => this.#resume());
    // Asked by system tests.
    on(globalThis, "lineside:ask", ({ detail }) => detail.push(this.#status));
    on(document, "turbo:load", () => {
      lostDelayMs = undefined;
      this.#usePageToken();
    });
  }

  #isFinished() {
    return this.#status === "stopped" || this.#status === "closed";
  }

  // Reconnects soon after sleep or once the network is back, instead of waiting for the back-off or the watchdog.
  #reconnectSoon() {
    if (this.#isFinished() || this.#isPaused) return;
    if (this.#retryTimer) this.#retry(RETRY_MS_MIN);
    else if (this.#socket && Date.now() - this.#receivedAt > this.#heartbeatMs + SILENCE_MS_MAX)
      this.#disconnected(ABNORMAL, RETRY_MS_MIN);
  }

  // Closes the socket when the page is hidden: browsers keep no page with an open socket in their back/forward cache.
  #pause() {
    if (this.#isFinished()) return;
    this.#isPaused = true;
    this.#drop();
    this.#setStatus("waiting");
  }

  // Reconnects with a fresh token, because another user may have signed in meanwhile.
  #resume() {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#restart();
  }

  // Uses the token of the page that a Turbo visit shows: it can allow other channels or belong to another user.
  #usePageToken() {
    const token = meta("lineside-token");
    if (this.#pageToken === undefined || !token || token === this.#pageToken) return;
    this.#pageToken = token;
    const [page, held] = [claims(token), claims(this.#token)];
    if (page.sub !== held.sub && this.#tokenUrl) {
      // The page shows this token's user. The reconnect fetches a token of the user who is signed in now.
      this.#setToken(token);
      this.#restart();
    } else if (page.sub !== held.sub || page.iat_ms > held.iat_ms) this.#replaceToken(token, false);
  }
}

// Opens a connection. Options that are missing are read from the page's tags, which `lineside_meta_tags` renders.
export function connect(options = {}) {
  return new Lineside(options);
}
