// Tests of lineside.js in Chromium, against the sidecar.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { Site } from "./sidecar.mjs";
import { launchBrowser } from "./visitor.mjs";

// Time-out of every wait, long enough for a busy machine.
const WAIT_MS_MAX = 20_000;

let browser, site, page, sockets, faults;

before(async () => {
  // Enables the back/forward cache, which Playwright disables.
  browser = await launchBrowser({ ignoreDefaultArgs: ["--disable-back-forward-cache"] });
});

after(() => browser?.close());

beforeEach(async () => {
  site = await Site.start();
  const context = await browser.newContext();
  context.setDefaultTimeout(WAIT_MS_MAX);
  page = await context.newPage();
  [sockets, faults] = [[], []];
  page.on("websocket", (socket) => sockets.push(socket.url()));
  page.on("pageerror", (error) => faults.push(String(error)));
});

afterEach(async () => {
  await page.context().close();
  await site.stop();
});

async function opened() {
  await page.goto(site.url);
  await isOpen();
}

const isOpen = () => page.waitForFunction(() => globalThis.lineside?.status === "open");

// Resolves when the page has received the data on the channel.
const waitForMessage = (channel, data) =>
  page.waitForFunction(
    (wanted) => received.some((it) => JSON.stringify(it) === wanted),
    JSON.stringify([channel, data]),
  );

const received = () => page.evaluate(() => globalThis.received);
const eventsOf = (type) =>
  page.evaluate((wanted) => events.filter(([of]) => of === wanted).map(([, detail]) => detail), type);

test("a page with meta tags receives messages, without a token in a URL", async () => {
  await opened();
  site.publish("board", "for all");
  site.publish("user:2", "for another");
  site.publish("user:1", "for this one");
  await waitForMessage("user:1", "for this one");
  assert.deepEqual(await received(), [["board", "for all"], ["user:1", "for this one"]]);
  assert.deepEqual(sockets, [`ws://${site.bind}/lineside`]);
  assert.deepEqual(faults, []);
});

test("after a crash of the sidecar, lost is emitted and messages arrive", async () => {
  await opened();
  site.publish("board", "before");
  await waitForMessage("board", "before");
  await page.evaluate(() => events.splice(0));
  await site.kill("SIGKILL");
  await site.run();
  await page.waitForFunction(() => events.some(([type]) => type === "lost"));
  site.publish("board", "after");
  await waitForMessage("board", "after");
  const [{ channels }] = await eventsOf("lost");
  assert.deepEqual(channels.sort(), ["board", "user:1"]);
});

test("messages published while offline arrive once and in order", async () => {
  await opened();
  site.publish("board", 1);
  await waitForMessage("board", 1);
  await page.evaluate(() => events.splice(0));
  await page.context().setOffline(true);
  await page.waitForFunction(() => lineside.status === "offline");
  site.publish("board", 2);
  site.publish("board", 3);
  await page.context().setOffline(false);
  await isOpen();
  site.publish("board", 4);
  await waitForMessage("board", 4);
  assert.deepEqual(await received(), [1, 2, 3, 4].map((data) => ["board", data]));
  assert.deepEqual(await eventsOf("lost"), []);
});

test("a later listener gets a replay, and the earlier one no duplicates", async () => {
  await opened();
  site.publish("board", 1);
  await waitForMessage("board", 1);
  const { cursor } = await page.evaluate(() => globalThis.last);
  site.publish("board", 2);
  site.publish("board", 3);
  await waitForMessage("board", 3);
  await page.evaluate((after) => {
    globalThis.late = [];
    lineside.subscribe("board", (data) => late.push(data), { after });
  }, cursor);
  await page.waitForFunction(() => late.length >= 2);
  site.publish("board", 4);
  await waitForMessage("board", 4);
  assert.deepEqual(await page.evaluate(() => globalThis.late), [2, 3, 4]);
  assert.deepEqual(await received(), [1, 2, 3, 4].map((data) => ["board", data]));
});

test("a token is renewed before it expires, on the same socket", async () => {
  site.seconds = 6;
  await opened();
  await page.waitForFunction(() => lineside.status === "open");
  const asked = site.tokens;
  while (site.tokens < asked + 2) await page.waitForRequest("**/token");
  site.publish("board", "still here");
  await waitForMessage("board", "still here");
  assert.equal(sockets.length, 1);
});

test("after a sign-out, the status is stopped and the page is loaded again without a connection", async () => {
  site.seconds = 3;
  await opened();
  await page.evaluate(() => {
    lineside.addEventListener("status", ({ detail }) => (sessionStorage.lastStatus = detail.status));
  });
  site.user = null;
  // A test must not end during a reload: `close()` of the browser context can then wait without end.
  await page.waitForFunction(() => document.title === "signed out");
  assert.equal(await page.evaluate(() => sessionStorage.lastStatus), "stopped");
  assert.equal(sockets.length, 1);
});

// Leaves the page and goes back to it. `wasKept` of the page tells whether it came from the cache.
async function leaveAndReturn(meanwhile) {
  await page.evaluate(() => {
    events.splice(0);
    globalThis.wasKept = false;
    addEventListener("pageshow", ({ persisted }) => (globalThis.wasKept = persisted));
  });
  await page.goto(`${site.url}elsewhere`);
  meanwhile();
  await page.goBack({ waitUntil: "commit" });
}

test("a page from the back/forward cache resumes", async () => {
  await opened();
  site.publish("board", 1);
  await waitForMessage("board", 1);
  await leaveAndReturn(() => site.publish("board", 2));
  await waitForMessage("board", 2);
  assert.equal(await page.evaluate(() => globalThis.wasKept), true);
  assert.deepEqual(await received(), [["board", 1], ["board", 2]]);
  assert.deepEqual(await eventsOf("lost"), []);
});

test("a page from the back/forward cache is loaded again for another user", async () => {
  await opened();
  site.publish("user:1", "for the one before");
  await waitForMessage("user:1", "for the one before");
  await leaveAndReturn(() => (site.user = "2"));
  await page.waitForFunction(() => globalThis.received?.length === 0 && globalThis.lineside?.status === "open");
  site.publish("user:1", "for the one before");
  site.publish("user:2", "for the one now");
  await waitForMessage("user:2", "for the one now");
  assert.deepEqual(await received(), [["user:2", "for the one now"]]);
});
