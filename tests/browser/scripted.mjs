// Scripted WebSocket server and token endpoint, and the parts of a page that the module uses.
import { once } from "node:events";
import { createServer } from "node:http";
import { WebSocket, WebSocketServer } from "ws";

// WebSocket as in a browser: a failure only emits `close`.
const clients = new Set();
globalThis.WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given).on("error", () => {});
    clients.add(this);
    this.on("close", () => clients.delete(this));
  }
};

// Timers do not keep the process running, including those started before a test mocks the clock.
const { setTimeout: holdingTimeout } = globalThis;
globalThis.setTimeout = (...given) => holdingTimeout(...given).unref();

// Queue whose `next` waits for an item.
class Queue {
  #items = [];
  #waiting = [];

  push(item) {
    const first = this.#waiting.shift();
    if (first) first(item);
    else this.#items.push(item);
  }

  next() {
    return this.#items.length > 0 ? this.#items.shift() : new Promise((resolve) => this.#waiting.push(resolve));
  }

  get count() {
    return this.#items.length;
  }
}

// Server side of one connection.
class ServerConnection {
  #frames = new Queue();

  constructor(socket, request) {
    this.socket = socket;
    this.url = request.url;
    this.protocol = socket.protocol;
    this.closed = once(socket, "close");
    socket.on("message", (text) => this.#frames.push(JSON.parse(text)));
  }

  receive() {
    return this.#frames.next();
  }

  get unreadCount() {
    return this.#frames.count;
  }

  send(...frames) {
    for (const frame of frames) this.socket.send(JSON.stringify(frame));
  }

  // Receives the connect, answers with a welcome, and returns the connect.
  async welcome(given = {}) {
    const connect = await this.receive();
    this.send({ type: "welcome", user: null, channels: [], refused: [], cursor: "e.100", heartbeat: 25, ...given });
    return connect;
  }

  publish(channel, ...positions) {
    this.send(...positions.map((position) => ({ type: "message", channel, cursor: `e.${position}`, data: position })));
  }

  // Resolves when the client has received every earlier frame, by a ping and its answer.
  async flush(cursor = "e.0") {
    this.send({ type: "ping", cursor });
    for (;;) if ((await this.receive()).type === "pong") return;
  }

  // Closes the connection; without a code, breaks it.
  async end(code) {
    if (code) this.socket.close(code);
    else this.socket.terminate();
    await this.closed;
  }
}

export class Server {
  #connections = new Queue();
  // Requests to the token endpoint, and its next answers: [status, body], or a promise of that.
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
      const form = Buffer.concat(await request.toArray()).toString();
      this.requests.push({ method, url, csrf: headers["x-csrf-token"], ...(form && { form: new URLSearchParams(form) }) });
      const [status, body] = (await this.answers.shift()) ?? [500, {}];
      // A client that reuses a connection fails when this server ends it as idle.
      response.writeHead(status, { "content-type": "application/json", connection: "close" }).end(JSON.stringify(body));
    });
    this.sockets = new WebSocketServer({ server: this.http });
    this.sockets.on("connection", (socket, request) => this.#connections.push(new ServerConnection(socket, request)));
  }

  connection() {
    return this.#connections.next();
  }

  get unusedCount() {
    return this.#connections.count;
  }

  // Waits for the end of the clients' sockets too. Otherwise each would clear its timer in the next test, and remove another
  // timer from the mocked clock of that test.
  async stop() {
    for (const socket of this.sockets.clients) socket.terminate();
    this.http.close();
    this.http.closeAllConnections();
    await Promise.all([...clients].map((socket) => new Promise((resolve) => socket.on("close", resolve))));
  }
}

// Document and window with the parts that the module uses.
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

  // Gives the page an address and a store, and counts its reloads.
  makeReloadable() {
    this.reloadCount = 0;
    globalThis.sessionStorage = {};
    globalThis.location = { pathname: "/orders", search: "", reload: () => this.reloadCount++ };
  }

  dispatch(type) {
    this.window.dispatchEvent(new Event(type));
    this.document.dispatchEvent(new Event(type));
  }

  leave() {
    delete globalThis.document;
    delete globalThis.addEventListener;
    delete globalThis.location;
    delete globalThis.sessionStorage;
  }
}

// Unsigned token with the claims.
export function tokenOf(claims) {
  const part = (object) => Buffer.from(JSON.stringify(object)).toString("base64url");
  return [part({ alg: "HS256" }), part(claims), "unsigned"].join(".");
}
