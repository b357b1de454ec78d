// A server that says what the test tells it to, and the little of a browser that the module asks for beside it.
import { once } from "node:events";
import { createServer } from "node:http";
import { WebSocket, WebSocketServer } from "ws";

// A socket as a page has it: what fails is told by `close` alone.
globalThis.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given).on("error", () => {});
  }
};

// A page's timers hold no process open, as those would that a test made before it mocked the clock.
const { setTimeout: holdingTimeout } = globalThis;
globalThis.setTimeout = (...given) => holdingTimeout(...given).unref();

// What comes one by one, and is awaited one by one.
class Arrivals {
  #come = [];
  #awaited = [];

  push(it) {
    const first = this.#awaited.shift();
    if (first) first(it);
    else this.#come.push(it);
  }

  next() {
    return this.#come.length > 0 ? this.#come.shift() : new Promise((resolve) => this.#awaited.push(resolve));
  }

  get count() {
    return this.#come.length;
  }
}

// One connection, from the server's side.
class Peer {
  #frames = new Arrivals();

  constructor(socket, request) {
    this.socket = socket;
    this.url = request.url;
    this.protocol = socket.protocol;
    this.closed = once(socket, "close");
    socket.on("message", (text) => this.#frames.push(JSON.parse(text)));
  }

  hears() {
    return this.#frames.next();
  }

  get unheard() {
    return this.#frames.count;
  }

  says(...frames) {
    for (const frame of frames) this.socket.send(JSON.stringify(frame));
  }

  // Hears the connect and answers it; returns what it heard.
  async welcomes(given = {}) {
    const connect = await this.hears();
    this.says({ type: "welcome", user: null, channels: [], refused: [], cursor: "e.100", heartbeat: 25, ...given });
    return connect;
  }

  publishes(channel, ...positions) {
    this.says(...positions.map((position) => ({ type: "message", channel, cursor: `e.${position}`, data: position })));
  }

  // Returns when everything said before was heard: a ping is answered in its turn.
  async isHeard(cursor = "e.0") {
    this.says({ type: "ping", cursor });
    for (;;) if ((await this.hears()).type === "pong") return;
  }

  // Ends the connection; without a code, as a line breaks.
  async ends(code) {
    if (code) this.socket.close(code);
    else this.socket.terminate();
    await this.closed;
  }
}

export class Server {
  #peers = new Arrivals();
  // What the token endpoint was asked, and what it answers: [status, body], or a promise of that.
  requests = [];
  answers = [];

  static async start() {
    const server = new Server();
    server.http.listen(0, "127.0.0.1");
    await once(server.http, "listening");
    const { port } = server.http.address();
    server.url = `ws://127.0.0.1:${port}/lineside`;
    server.tokenUrl = `http://127.0.0.1:${port}/lineside/token`;
    return server;
  }

  constructor() {
    this.http = createServer(async (request, response) => {
      const { method, headers, url } = request;
      this.requests.push({ method, url, csrf: headers["x-csrf-token"] });
      const [status, body] = (await this.answers.shift()) ?? [500, {}];
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    });
    this.sockets = new WebSocketServer({ server: this.http });
    this.sockets.on("connection", (socket, request) => this.#peers.push(new Peer(socket, request)));
  }

  peer() {
    return this.#peers.next();
  }

  get unmet() {
    return this.#peers.count;
  }

  stop() {
    for (const socket of this.sockets.clients) socket.terminate();
    this.http.close();
    this.http.closeAllConnections();
  }
}

// The parts of a document and a window that the module listens to.
export class Page {
  constructor(tags = {}) {
    this.tags = tags;
    this.document = new EventTarget();
    this.document.visibilityState = "visible";
    this.document.querySelector = (selector) => {
      const content = this.tags[selector.match(/"(.*)"/)[1]];
      return content === undefined ? null : { content };
    };
    this.window = new EventTarget();
    globalThis.document = this.document;
    globalThis.addEventListener = this.window.addEventListener.bind(this.window);
  }

  happens(type) {
    this.window.dispatchEvent(new Event(type));
    this.document.dispatchEvent(new Event(type));
  }

  leave() {
    delete globalThis.document;
    delete globalThis.addEventListener;
  }
}

// A token that only its reader looks into.
export function tokenOf(claims) {
  const part = (object) => Buffer.from(JSON.stringify(object)).toString("base64url");
  return [part({ alg: "HS256" }), part(claims), "unsigned"].join(".");
}
