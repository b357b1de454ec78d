// The sidecar for a test, and a small app before it: a page that loads the module, and a place to get tokens.
import { spawn, spawnSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

const ROOT = new URL("../../", import.meta.url).pathname;
const BINARY = `${ROOT}target/debug/lineside`;
const MODULE = `${ROOT}app/assets/javascripts/lineside.js`;
const SECRET = "a-secret-for-tests-of-32-bytes-or-more";

// Signs a connection token for a user who may read `channels`.
export function sign(sub, { channels = ["board"], seconds = 3600, allow = [] } = {}) {
  const now = Date.now();
  const iat = Math.floor(now / 1000);
  const claims = { aud: "lineside", sub, channels, allow, iat, iat_ms: now, exp: iat + seconds };
  const part = (object) => Buffer.from(JSON.stringify(object)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

export class Site {
  // Who asks for a page or a token; null is nobody.
  user = "1";
  seconds = 3600;
  // Set by a test to hold a page's cursor at some time.
  cursor = "unknown";
  tokens = 0;
  #folder = mkdtempSync(join(tmpdir(), "lineside-module-"));
  #child;

  static async start() {
    const site = new Site();
    site.http = createServer((request, response) => site.#answer(request, response)).listen(0, "127.0.0.1");
    await once(site.http, "listening");
    site.url = `http://127.0.0.1:${site.http.address().port}/`;
    await site.run("127.0.0.1:0");
    return site;
  }

  #settings(bind) {
    const link = `unix:${this.#folder}/link/lineside.sock`;
    const origins = this.url.slice(0, -1);
    return {
      LINESIDE_SECRET: SECRET,
      LINESIDE_BIND: bind,
      LINESIDE_ADMIN_BIND: "none",
      LINESIDE_LINK: link,
      LINESIDE_ALLOWED_ORIGINS: origins,
      LINESIDE_CONNECTIONS_MAX: "500",
    };
  }

  // Starts a sidecar where the last one was.
  async run(bind = this.bind) {
    this.#child = spawn(BINARY, { env: this.#settings(bind), cwd: this.#folder });
    this.bind = await new Promise((resolve, reject) => {
      let log = "";
      const read = (text) => {
        log += text;
        const listening = log.match(/event=listening.* bind=(127\.0\.0\.1:\d+)/);
        if (listening) resolve(listening[1]);
      };
      this.#child.stdout.on("data", read);
      this.#child.stderr.on("data", read);
      this.#child.on("exit", () => reject(new Error(`no sidecar:\n${log}`)));
    });
  }

  async kill(signal) {
    this.#child.kill(signal);
    await once(this.#child, "exit");
  }

  // Publishes, and returns when the sidecar has it.
  publish(channel, data) {
    const given = { env: this.#settings(this.bind), cwd: this.#folder, encoding: "utf8" };
    const { status, stderr } = spawnSync(BINARY, ["publish", channel, JSON.stringify(data)], given);
    if (status !== 0) throw new Error(stderr);
  }

  async stop() {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.kill("SIGTERM");
    this.http.close();
    this.http.closeAllConnections();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #answer({ method, url, headers }, response) {
    const say = (status, type, body = "") => response.writeHead(status, { "content-type": type }).end(body);
    if (url === "/lineside.js") return say(200, "text/javascript", readFileSync(MODULE));
    if (url === "/token" && method === "POST" && headers["x-csrf-token"] === "csrf") {
      this.tokens++;
      if (this.user === null) return say(401, "text/plain");
      return say(200, "application/json", JSON.stringify({ token: sign(this.user, this) }));
    }
    if (url === "/") return say(200, "text/html; charset=utf-8", this.#page());
    return url === "/elsewhere" ? say(200, "text/html", "<title>elsewhere</title>") : say(404, "text/plain");
  }

  #page() {
    return `<!doctype html>
<link rel="icon" href="data:,">
<meta name="csrf-token" content="csrf">
<meta name="lineside-url" content="ws://${this.bind}/lineside">
<meta name="lineside-token" content="${sign(this.user, this)}">
<meta name="lineside-cursor" content="${this.cursor}">
<meta name="lineside-token-url" content="/token">
<script type="module">
  import { connect } from "/lineside.js";
  window.heard = [];
  window.events = [];
  window.lineside = connect();
  const note = (data, message) => {
    heard.push([message.channel, data]);
    window.last = message;
  };
  lineside.subscribe("board", note);
  lineside.user(note);
  for (const type of ["status", "lost", "refused"])
    lineside.addEventListener(type, ({ detail }) => events.push([type, detail]));
</script>`;
  }
}
