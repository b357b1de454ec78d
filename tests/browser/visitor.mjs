// Visitor of the demo: a Chromium page with its own profile, and all frames that its WebSocket received.
import { chromium } from "playwright-core";

// Time-out of every wait, long enough for a busy machine.
const WAIT_MS_MAX = 15_000;

// Launches Chromium. `args`: additional arguments. `options`: additional options of Playwright.
export function launchBrowser({ args = [], ...options } = {}) {
  return chromium.launch({
    ...options,
    executablePath: "/usr/bin/chromium",
    args: [
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      ...args,
    ],
  });
}

export class Visitor {
  // Signs in on the left seat's page. Resolves when the page is connected. `path`: "turbo" or "stock" for the page with
  // Turbo. `options`: Playwright's options of a browser context.
  static async signIn(browser, url, name, { path = "", ...options } = {}) {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(WAIT_MS_MAX);
    const visitor = new Visitor(await context.newPage());
    await visitor.page.goto(new URL(`seats/left/${path}`, url).href);
    await visitor.page.getByRole("button", { name }).click();
    await visitor.isConnected();
    return visitor;
  }

  constructor(page) {
    this.page = page;
    this.frames = [];
    this.faults = [];
    page.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => this.frames.push(payload)));
    page.on("pageerror", (error) => this.faults.push(String(error)));
    page.on("console", (message) => message.type() === "error" && this.faults.push(message.text()));
  }

  isConnected() {
    return this.page.locator('#line[data-state="open"]').waitFor();
  }

  async post(body) {
    await this.page.getByLabel("Post to the board").fill(body);
    await this.page.getByRole("button", { name: "Post", exact: true }).click();
  }

  // Posts on the page with Turbo. Resolves once the app has answered with empty fields.
  async submit(body) {
    await this.post(body);
    await this.page.locator("#post-body:placeholder-shown").waitFor();
  }

  // Posts that end with `ending`, from the top, without it.
  async posts(ending) {
    const texts = await this.page.locator("#posts p").allTextContents();
    return texts.filter((text) => text.endsWith(ending)).map((text) => text.slice(0, -ending.length).trim());
  }

  // Presses a switch of the window by its name.
  async press(name) {
    const token = await this.page.locator('meta[name="csrf-token"]').getAttribute("content");
    const url = new URL("/switches", this.page.url()).href;
    const response = await this.page.request.post(url, { headers: { "X-CSRF-Token": token }, form: { switch: name } });
    if (!response.ok()) throw new Error(`the switch ${name}: ${response.status()} ${await response.text()}`);
  }

  async notify(name, body) {
    await this.page.getByLabel("Recipient").selectOption(name);
    await this.page.getByLabel("Notification", { exact: true }).fill(body);
    await this.page.getByRole("button", { name: "Notify", exact: true }).click();
  }

  // Reloads the page, and runs `meanwhile` after it is rendered and before it connects.
  async reload(meanwhile) {
    this.frames = [];
    await this.page.route("**/page.js", async (route) => {
      await meanwhile();
      await route.continue();
    });
    await this.page.reload();
    await this.page.unroute("**/page.js");
    await this.isConnected();
  }

  // Cursor of a page rendered now.
  async cursor() {
    const response = await this.page.request.get(this.page.url());
    return (await response.text()).match(/name="lineside-cursor" content="([^"]*)"/)[1];
  }

  // Waits until the list "posts" or "notices" contains `body`, and returns its item.
  async waitFor(list, body) {
    const item = this.page.locator(`#${list} li`).filter({ hasText: body });
    await item.waitFor();
    return item;
  }

  // Whether `body` is on the page or was received over its socket.
  async hasReceived(body) {
    return this.frames.some((frame) => frame.includes(body)) || (await this.page.content()).includes(body);
  }
}
