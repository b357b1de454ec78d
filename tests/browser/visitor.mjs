// A person at the demo: a real Chromium with a profile of its own, and every frame that its page's socket received.
import { chromium } from "playwright-core";

// Long enough for a busy machine; what does not come within it does not come.
const WAIT_MS_MAX = 15_000;

// `options` are Playwright's, beside what every test needs.
export function launchBrowser(options = {}) {
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
    ],
  });
}

export class Visitor {
  // Takes the left seat, alone in its tab. Resolves when the page says that its socket is connected. `options` are
  // Playwright's for a browser context.
  static async signIn(browser, url, name, options = {}) {
    const context = await browser.newContext(options);
    context.setDefaultTimeout(WAIT_MS_MAX);
    const visitor = new Visitor(await context.newPage());
    await visitor.page.goto(new URL("seats/left", url).href);
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

  async notify(name, body) {
    await this.page.getByLabel("Recipient").selectOption(name);
    await this.page.getByLabel("Notification", { exact: true }).fill(body);
    await this.page.getByRole("button", { name: "Notify", exact: true }).click();
  }

  // Loads the page again, and awaits `meanwhile` when it is rendered and not yet connected.
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

  // The cursor that the page would be rendered with now.
  async cursor() {
    const response = await this.page.request.get(this.page.url());
    return (await response.text()).match(/name="lineside-cursor" content="([^"]*)"/)[1];
  }

  // Waits until `body` stands in "posts" or "notices", and gives its list item.
  async sees(list, body) {
    const item = this.page.locator(`#${list} li`).filter({ hasText: body });
    await item.waitFor();
    return item;
  }

  // Whether `body` stands anywhere on the page or came over its socket.
  async knowsOf(body) {
    return this.frames.some((frame) => frame.includes(body)) || (await this.page.content()).includes(body);
  }
}
