// App with Turbo streams for a test: Puma with the app of the specs, a sidecar, and a proxy in front of Puma that can
// cut the network. By route, the proxy sends the path of Action Cable to the sidecar.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, watch, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { build } from "esbuild";

const ROOT = new URL("../../", import.meta.url).pathname;
const MODULES = new URL("node_modules/", import.meta.url).pathname;
const SCRIPTS = {
  "/js/turbo.js": `${MODULES}@hotwired/turbo-rails/app/assets/javascripts/turbo.js`,
  "/js/turbo7.js": `${MODULES}turbo-rails-7/app/assets/javascripts/turbo.js`,
  "/js/actioncable.js": `${MODULES}@rails/actioncable/app/assets/javascripts/actioncable.esm.js`,
  "/js/lineside/turbo.js": `${ROOT}app/assets/javascripts/lineside/turbo.js`,
};

// Settings by route. The key is that of the app's Turbo.
const BY_ROUTE = {
  LINESIDE_CABLE_IDENTITY: "required",
  LINESIDE_TURBO_KEYS: Buffer.from("the key of Turbo").toString("base64"),
};

// Time-out of Room.events and Room.startPuma. The sidecar ends a dead connection within 34 s: a ping every 24 s, and 10 s
// for its answer.
const EVENTS_MS_MAX = 45_000;

// A process whose output is kept.
class Process {
  output = "";

  constructor(command, given, env) {
    this.child = spawn(command, given, { cwd: ROOT, env: { ...process.env, ...env } });
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on("data", (text) => (this.output += text));
  }

  // Resolves with the match once the output has it.
  async written(pattern) {
    for (;;) {
      const found = this.output.match(pattern);
      if (found) return found;
      if (this.isEnded) throw new Error(`the process ended without ${pattern}:\n${this.output}`);
      await Promise.race([once(this.child.stdout, "data"), once(this.child.stderr, "data"), once(this.child, "exit")]);
    }
  }

  get isEnded() {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  async ended() {
    if (!this.isEnded) await once(this.child, "exit");
  }

  async stop(signal = "SIGTERM") {
    if (this.isEnded) return;
    this.child.kill(signal);
    await this.ended();
  }
}

// TCP proxy. While it is cut, it neither passes anything on nor closes a connection.
class Proxy {
  #isCut = false;
  #connections = new Set();
  #waiting = [];
  #ports;

  // `ports`: function that returns the port for the first bytes of a connection.
  static async start(ports) {
    const proxy = new Proxy();
    proxy.#ports = ports;
    proxy.server = createServer((socket) => proxy.#accept(socket)).listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    proxy.port = proxy.server.address().port;
    return proxy;
  }

  #accept(socket) {
    const pair = { ends: [socket], isCut: false };
    this.#connections.add(pair);
    socket.on("close", () => this.#connections.delete(pair));
    socket.on("error", () => socket.destroy());
    this.#whenHealed(() => socket.once("data", (head) => this.#whenHealed(() => this.#pass(pair, head))));
  }

  #whenHealed(task) {
    if (this.#isCut) this.#waiting.push(task);
    else task();
  }

  #pass(pair, head) {
    const [socket] = pair.ends;
    const upstream = connect(this.#ports(head), "127.0.0.1");
    pair.ends.push(upstream);
    pair.isCut = false;
    upstream.write(head);
    for (const [from, to] of [[socket, upstream], [upstream, socket]]) {
      from.on("data", (bytes) => pair.isCut || to.write(bytes));
      from.on("end", () => pair.isCut || to.end());
      from.on("error", () => pair.isCut || to.destroy());
    }
  }

  cut() {
    this.#isCut = true;
    for (const pair of this.#connections) pair.isCut = true;
  }

  // Connections from before the cut stay silent.
  heal() {
    this.#isCut = false;
    for (const task of this.#waiting.splice(0)) task();
  }

  stop() {
    for (const { ends } of this.#connections) for (const end of ends) end.destroy();
    this.server.close();
  }
}

export class Room {
  #folder = mkdtempSync(join(tmpdir(), "lineside-room-"));
  #port = 0;
  #bind = "none";
  #given;

  // `byRoute`: whether the proxy sends the path of Action Cable to the sidecar. `env`: further variables of the app.
  static async start({ byRoute = false, env = {} } = {}) {
    const room = new Room();
    room.#given = byRoute ? { ...BY_ROUTE, ...env } : env;
    if (byRoute) room.#bind = "127.0.0.1:0";
    for (const file of [room.#env.ROOM_FILE, room.#env.CABLE_EVENTS]) writeFileSync(file, "");
    await room.startSidecar();
    await room.startPuma();
    const isCable = (head) => head.toString("latin1").startsWith("GET /cable");
    room.proxy = await Proxy.start((head) => (byRoute && isCable(head) ? room.#bind.split(":")[1] : room.#port));
    room.url = `http://127.0.0.1:${room.proxy.port}`;
    return room;
  }

  get #env() {
    return {
      RAILS_ENV: "development",
      ROOM_FILE: join(this.#folder, "posts"),
      CABLE_EVENTS: join(this.#folder, "events"),
      LINESIDE_LINK: `unix:${this.#folder}/link/lineside.sock`,
      LINESIDE_SECRET: "a-secret-for-tests-of-32-bytes-or-more",
      LINESIDE_BIND: this.#bind,
      LINESIDE_ADMIN_BIND: "none",
      ...this.#given,
    };
  }

  // Starts the sidecar, on the address of the last one.
  async startSidecar() {
    this.sidecar = new Process(`${ROOT}target/debug/lineside`, ["serve"], this.#env);
    const [, bind] = await this.sidecar.written(/event=listening(?:.* bind=(127\S+))?/);
    this.#bind = bind ?? this.#bind;
  }

  // Starts Puma, on the port of the last one.
  async startPuma() {
    const given = ["-I", `${ROOT}lib`, "-S", "puma", "-w", "0", "-C", "-", "-b", `tcp://127.0.0.1:${this.#port}`];
    this.puma = new Process("ruby", [...given, `${ROOT}spec/dummy/config.ru`], this.#env);
    this.#port = Number((await this.puma.written(/Listening on http:\/\/127\.0\.0\.1:(\d+)/))[1]);
    // Until the process knows the newest cursor.
    const signal = AbortSignal.timeout(EVENTS_MS_MAX);
    while (!/data-lineside-after="\w+\./.test(await this.#page())) signal.throwIfAborted();
  }

  async #page() {
    return (await fetch(`http://127.0.0.1:${this.#port}/rooms/board`)).text();
  }

  async #send(path, form = {}) {
    const response = await fetch(`http://127.0.0.1:${this.#port}${path}`, { method: "POST", body: new URLSearchParams(form) });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
  }

  // Adds a post to the pages of a stream, and to pages that are rendered later.
  post(text, stream = "board") {
    return this.#send(`/broadcasts/${stream}`, { post: text, html: append("posts", text) });
  }

  // Adds a line to the pages of a stream.
  append(target, text, stream = "board") {
    return this.#send(`/broadcasts/${stream}`, { html: append(target, text) });
  }

  // Publishes a text on a stream.
  broadcast(stream, text) {
    return this.#send(`/broadcasts/${stream}`, { html: text });
  }

  // Waits until the app's connections and channels have noted these events, besides `connect`, and checks that there are no
  // others.
  async events(expected) {
    const file = this.#env.CABLE_EVENTS;
    const noted = () => readFileSync(file, "utf8").split("\n").filter((it) => it && !it.startsWith("connect "));
    const watcher = watch(file);
    const signal = AbortSignal.timeout(EVENTS_MS_MAX);
    try {
      while (noted().length < expected.length) await once(watcher, "change", { signal });
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      watcher.close();
    }
    assert.deepEqual(noted(), expected);
  }

  // Events of the app's `connect` so far.
  connects() {
    return readFileSync(this.#env.CABLE_EVENTS, "utf8").split("\n").filter((it) => it.startsWith("connect "));
  }

  refresh() {
    return this.#send("/broadcasts/board", { html: '<turbo-stream action="refresh"></turbo-stream>' });
  }

  disconnect(user) {
    return this.#send(`/disconnections/${user}`);
  }

  // Ends the connections of a user as Rails does.
  disconnectRemotely(user, reconnect) {
    return this.#send(`/remote_disconnections/${user}`, { reconnect });
  }

  async stop() {
    this.proxy?.stop();
    await Promise.all([this.puma?.stop("SIGKILL"), this.sidecar?.stop("SIGKILL")]);
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

const append = (target, text) =>
  `<turbo-stream action="append" target="${target}"><template><li>${text}</li></template></turbo-stream>`;

// Turbo, its client of Action Cable and the module in one file, as a bundler makes it.
async function bundle() {
  const contents = 'export * from "@hotwired/turbo-rails"; import "lineside/turbo"';
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: MODULES },
    alias: { "lineside/turbo": SCRIPTS["/js/lineside/turbo.js"] },
    nodePaths: [MODULES],
    bundle: true,
    format: "esm",
    write: false,
  });
  return outputFiles[0].text;
}

// Serves the scripts of a browser context.
export async function serveScripts(context) {
  await context.route("**/js/**", async (route) => {
    const { pathname } = new URL(route.request().url());
    const body = pathname === "/js/bundle.js" ? await bundle() : readFileSync(SCRIPTS[pathname]);
    return route.fulfill({ contentType: "text/javascript", body });
  });
}
