// Demo for a test: Puma and sidecar on free ports, with a temporary link and database.
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const FOLDER = new URL("../../demo/", import.meta.url).pathname;
const LAUNCHER_FOLDER = new URL("../../gem/exe", import.meta.url).pathname;
// Time-out of the start. A cold start of Rails takes some seconds on an idle machine.
const READY_MS_MAX = 90_000;
const POLL_MS = 100;

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

export class Demo {
  #puma;
  #output = "";

  static async start() {
    const demo = new Demo(await freePort(), await freePort());
    demo.#prepare();
    demo.#run();
    await Promise.all([demo.#answers(demo.url), demo.#answers(`http://${demo.bind}/up`)]);
    return demo;
  }

  constructor(port, sidecarPort) {
    this.url = `http://127.0.0.1:${port}/`;
    this.bind = `127.0.0.1:${sidecarPort}`;
    this.folder = mkdtempSync(join(tmpdir(), "lineside-demo-"));
    this.env = {
      ...process.env,
      // Folder of the command `lineside`, which `bundle install` would add.
      PATH: `${LAUNCHER_FOLDER}:${process.env.PATH}`,
      DEMO_PORT: port,
      LINESIDE_BIND: this.bind,
      LINESIDE_LINK: `unix:${this.folder}/link/lineside.sock`,
      DATABASE_URL: `sqlite3:${this.folder}/demo.sqlite3`,
    };
  }

  #prepare() {
    const { status, stdout, stderr } = spawnSync("bin/rails", ["db:prepare"], { cwd: FOLDER, env: this.env });
    if (status !== 0) throw new Error(`bin/rails db:prepare failed:\n${stdout}${stderr}`);
  }

  #run() {
    this.#puma = spawn("bundle", ["exec", "puma"], { cwd: FOLDER, env: this.env });
    for (const stream of [this.#puma.stdout, this.#puma.stderr]) stream.on("data", (text) => (this.#output += text));
  }

  async stop() {
    if (this.#puma.exitCode === null && this.#puma.signalCode === null) {
      this.#puma.kill("SIGTERM");
      await once(this.#puma, "exit");
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #answers(url) {
    const deadline = Date.now() + READY_MS_MAX;
    for (;;) {
      const response = await fetch(url).catch(() => null);
      if (response?.ok) return;
      if (Date.now() > deadline) throw new Error(`no answer from ${url}:\n${this.#output}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}
