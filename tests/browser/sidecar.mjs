// Sidecar for a test, and a small app: a page that loads the module, and a token endpoint.
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
// Time-out of Site.publish.
const PUBLISH_MS_MAX = 20_000;
const SECRET = "a-secret-for-tests-of-32-bytes-or-more";

// Signs a connection token.
export function sign(sub, { channels = ["board"], seconds = 3600, allow = [] } = {}) {
  const now = Date.now();
  const iat = Math.floor(now / 1000);
  const claims = { aud: "lineside", sub, channels, allow, iat, iat_ms: now, exp: iat + seconds };
  const part = (object) => Buffer.from(JSON.stringify(object)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

export class Site {
  // User of the page and its tokens; null if nobody is signed in.
  user = "1";
  seconds = 3600;
  // Cursor of the page.
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

  // Starts a sidecar, by default on the address of the last one.
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

  // Publishes, and returns after the sidecar's confirmation.
  publish(channel, data) {
    const given = { env: this.#settings(this.bind), cwd: this.#folder, encoding: "utf8", timeout: PUBLISH_MS_MAX };
    const { status, error, stderr } = spawnSync(BINARY, ["publish", channel, JSON.stringify(data)], given);
    if (error) throw error;
    if (status !== 0) throw new Error(stderr);
  }

  async stop() {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.kill("SIGTERM");
    this.http.close();
    this.http.closeAllConnections();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #answer({ method, url, headers }, response) {
    const send = (status, type, body = "") => response.writeHead(status, { "content-type": type }).end(body);
    if (url === "/lineside.js") return send(200, "text/javascript", readFileSync(MODULE));
    if (url === "/token" && method === "POST" && headers["x-csrf-token"] === "csrf") {
      this.tokens++;
      if (this.user === null) return send(401, "text/plain");
      return send(200, "application/json", JSON.stringify({ token: sign(this.user, this) }));
    }
    if (url === "/") return send(200, "text/html; charset=utf-8", this.#page());
    return url === "/elsewhere" ? send(200, "text/html", "<title>elsewhere</title>") : send(404, "text/plain");
  }

  #page() {
    if (this.user === null) return "<!doctype html><link rel=icon href=data:,><title>signed out</title>";
    return `<!doctype html>
<link rel="icon" href="data:,">
<meta name="csrf-token" content="csrf">
<meta name="lineside-url" content="ws://${this.bind}/lineside">
<meta name="lineside-token" content="${sign(this.user, this)}">
<meta name="lineside-cursor" content="${this.cursor}">
<meta name="lineside-token-url" content="/token">
<script type="module">
  import { connect } from "/lineside.js";
  window.received = [];
  window.events = [];
  window.lineside = connect();
  const note = (data, message) => {
    received.push([message.channel, data]);
    window.last = message;
  };
  lineside.subscribe("board", note);
  lineside.user(note);
  for (const type of ["status", "lost", "refused"])
    lineside.addEventListener(type, ({ detail }) => events.push([type, detail]));
</script>`;
  }
}
