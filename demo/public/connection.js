// A plain WebSocket to the sidecar that is kept open: it resumes after its last cursor, fetches a fresh token when it is
// told to, and says when something was lost and has to be fetched.

const RETRY_MS_MIN = 500;
const RETRY_MS_MAX = 15_000;
// How long after a heartbeat is due the silence means that the line is dead.
const SILENCE_MS_MAX = 10_000;

// Close codes: from 4000 on a fresh token is needed first, from 4100 on the same one will do; from 4500 on, and for what
// RFC 6455 calls a fault of this side, it will not get better.
const wantsToken = (code) => code >= 4000 && code < 4100;
const isFinal = (code) => code >= 4500 || [1002, 1003, 1007, 1009].includes(code);

export class Connection {
  #url;
  #token;
  #cursor;
  #page;
  #socket;
  #attempts = 0;
  #retryMs;
  #heartbeatMs = 25_000;
  #watchdog;

  // `page` answers: message(envelope), lost(), freshToken() (a promise) and state(word, explanation).
  constructor({ url, token, after }, page) {
    this.#url = url;
    this.#token = token;
    this.#cursor = after;
    this.#page = page;
    this.#open();
  }

  #open() {
    this.#page.state("connecting", "connecting");
    this.#socket = new WebSocket(this.#url);
    this.#socket.onopen = () => this.#send({ type: "connect", token: this.#token, after: this.#cursor });
    this.#socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    this.#socket.onclose = ({ code }) => this.#closed(code);
    this.#watch();
  }

  #send(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  #receive(envelope) {
    this.#watch();
    if (envelope.cursor) this.#cursor = envelope.cursor;
    switch (envelope.type) {
      case "welcome":
        this.#attempts = 0;
        this.#heartbeatMs = envelope.heartbeat * 1000;
        this.#page.state("open", "connected");
        if (envelope.lost?.length > 0) this.#page.lost();
        break;
      case "message":
        this.#page.message(envelope);
        break;
      case "lost":
        setTimeout(() => this.#page.lost(), envelope.after_ms);
        break;
      case "ping":
        this.#send({ type: "pong" });
        break;
      case "disconnect":
        this.#retryMs = envelope.after_ms;
        break;
    }
  }

  async #closed(code) {
    clearTimeout(this.#watchdog);
    if (isFinal(code)) return this.#page.state("stopped", `stopped (${code})`);

    const backoff = Math.min(RETRY_MS_MAX, RETRY_MS_MIN * 2 ** this.#attempts++);
    // Spread, so that a thousand pages do not come back at the same moment.
    const wait = Math.max(this.#retryMs ?? 0, backoff * (0.5 + Math.random() / 2));
    this.#retryMs = undefined;
    this.#page.state("waiting", `back in ${(wait / 1000).toFixed(1)} s`);
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (wantsToken(code)) this.#token = await this.#page.freshToken();
    this.#open();
  }

  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#socket.close(), this.#heartbeatMs + SILENCE_MS_MAX);
  }
}
