// Pages in Chromium, in a room of their own test, and a page with Turbo streams.
import { after, afterEach, before, beforeEach, test } from "node:test";

import { Room, serveScripts } from "./room.mjs";
import { launchBrowser } from "./visitor.mjs";

// Time-out of every wait. A stock client reconnects up to 15 s after its network is cut.
const WAIT_MS_MAX = 25_000;

// Queries of pages without the module and with it.
export const STOCK = "";
export const MODULE = "module=1";

let browser, pages;

// App of the current test.
export let room;

// Starts a browser for the tests of a file, and a room for each test. `options`: as of Room.start.
export function useRooms(options) {
  before(async () => {
    // A page that a test answers itself has no address, and Chromium lets such a page open no socket to this machine.
    browser = await launchBrowser({ args: ["--disable-features=LocalNetworkAccessChecks"] });
  });

  after(() => browser?.close());

  beforeEach(async () => {
    pages = [];
    room = await Room.start(options);
  });

  afterEach(async () => {
    for (const page of pages) await page.context().close();
    await room.stop();
  });
}

// Opens an empty page of a new visitor. It is closed after the test.
export async function openPage() {
  const context = await browser.newContext();
  context.setDefaultTimeout(WAIT_MS_MAX);
  await serveScripts(context);
  const page = await context.newPage();
  pages.push(page);
  return page;
}

// Starts another room in place of that of the test.
export async function replaceRoom(options) {
  await room.stop();
  room = await Room.start(options);
}

// A page of a visitor, and the sockets and errors that it has had.
export class Guest {
  sockets = 0;
  faults = [];

  static async open({ user = "ada", path = "/rooms/board", query = STOCK, meanwhile } = {}) {
    const guest = new Guest(await openPage());
    const context = guest.page.context();
    await context.request.get(`${room.url}/sign_in/${user}`);
    if (meanwhile) {
      await context.route("**/js/turbo*.js", async (route) => {
        await meanwhile?.();
        meanwhile = undefined;
        await route.fallback();
      });
    }
    await guest.page.goto(`${room.url}${path}?${query}`);
    await guest.connected();
    return guest;
  }

  constructor(page) {
    this.page = page;
    page.on("websocket", () => this.sockets++);
    page.on("pageerror", (error) => this.faults.push(String(error)));
  }

  connected() {
    return this.page.waitForFunction(() => {
      const sources = [...document.querySelectorAll("turbo-cable-stream-source")];
      return sources.length > 0 && sources.every((it) => it.hasAttribute("connected"));
    });
  }

  disconnected() {
    return this.page.locator("turbo-cable-stream-source:not([connected])").first().waitFor({ state: "attached" });
  }

  // Waits for a text in a list.
  sees(text, list = "posts") {
    return this.page.locator(`#${list} li`).filter({ hasText: new RegExp(`^${text}$`) }).first().waitFor();
  }

  texts(list = "posts") {
    return this.page.locator(`#${list} li`).allTextContents();
  }

  events() {
    return this.page.evaluate(() => globalThis.events);
  }

  // Counts the requests for the page from now on.
  countVisits() {
    const visits = { count: 0 };
    this.page.on("request", (request) => (visits.count += request.url().includes("/rooms/board")));
    return visits;
  }

  // Calls a method of the client's consumer.
  consumer(method) {
    return this.page.evaluate((name) => {
      document.querySelector("turbo-cable-stream-source").subscription.consumer[name]();
    }, method);
  }

  // Connects again without the identity cookie, as if it had expired.
  async loseIdentity() {
    await this.page.context().clearCookies({ name: /^lineside/ });
    await this.consumer("disconnect");
    await this.disconnected();
    const refused = this.page.waitForEvent("websocket").then((it) => it.waitForEvent("framereceived", isUnauthorized));
    await this.consumer("connect");
    await refused;
  }

  // Waits for a state in the attribute for CSS.
  is(state) {
    return this.page.locator(`html[data-lineside="${state}"]`).waitFor();
  }

  // Random number of the document, which Drive visits keep.
  born() {
    return this.page.evaluate(() => globalThis.born);
  }

  async click(name) {
    await this.page.getByRole("link", { name }).click();
    await this.page.getByRole("heading", { name }).waitFor();
  }
}

const isUnauthorized = ({ payload }) => JSON.parse(payload).reason === "unauthorized";

// Defines two tests: one for pages without the module, one for pages with it.
export function everyTest(name, body) {
  test(`${name}, with stock clients`, () => body(STOCK));
  test(`${name}, with the module`, () => body(MODULE));
}
