// lineside.js in a real browser, against the real sidecar.
import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { Site } from "./sidecar.mjs";
import { launchBrowser } from "./visitor.mjs";

// Long enough for a busy machine; what does not come within it does not come.
const WAIT_MS_MAX = 20_000;

let browser, site, page, sockets, faults;

before(async () => {
  // Playwright turns the keeping of pages off, and it is one of the things to see.
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

// Resolves when the page has heard that on that channel.
const hears = (channel, data) =>
  page.waitForFunction((wanted) => heard.some((it) => JSON.stringify(it) === wanted), JSON.stringify([channel, data]));

const heard = () => page.evaluate(() => globalThis.heard);
const told = (type) =>
  page.evaluate((wanted) => events.filter(([of]) => of === wanted).map(([, detail]) => detail), type);

test("what is published reaches the page that reads its tags, and the token is in no URL", async () => {
  await opened();
  site.publish("board", "for all");
  site.publish("user:2", "for another");
  site.publish("user:1", "for this one");
  await hears("user:1", "for this one");
  assert.deepEqual(await heard(), [["board", "for all"], ["user:1", "for this one"]]);
  assert.deepEqual(sockets, [`ws://${site.bind}/lineside`]);
  assert.deepEqual(faults, []);
});

test("after a killed sidecar the page is told what is lost, and hears what comes", async () => {
  await opened();
  site.publish("board", "before");
  await hears("board", "before");
  await page.evaluate(() => events.splice(0));
  await site.kill("SIGKILL");
  await site.run();
  await page.waitForFunction(() => events.some(([type]) => type === "lost"));
  site.publish("board", "after");
  await hears("board", "after");
  const [{ channels }] = await told("lost");
  assert.deepEqual(channels.sort(), ["board", "user:1"]);
});

test("offline, what is published waits for the page, and comes once and in order", async () => {
  await opened();
  site.publish("board", 1);
  await hears("board", 1);
  await page.evaluate(() => events.splice(0));
  await page.context().setOffline(true);
  await page.waitForFunction(() => lineside.status === "offline");
  site.publish("board", 2);
  site.publish("board", 3);
  await page.context().setOffline(false);
  await isOpen();
  site.publish("board", 4);
  await hears("board", 4);
  assert.deepEqual(await heard(), [1, 2, 3, 4].map((data) => ["board", data]));
  assert.deepEqual(await told("lost"), []);
});

test("a late listener gets the past after its cursor, and the earlier one does not again", async () => {
  await opened();
  site.publish("board", 1);
  await hears("board", 1);
  const { cursor } = await page.evaluate(() => globalThis.last);
  site.publish("board", 2);
  site.publish("board", 3);
  await hears("board", 3);
  await page.evaluate((after) => {
    globalThis.late = [];
    lineside.subscribe("board", (data) => late.push(data), { after });
  }, cursor);
  await page.waitForFunction(() => late.length >= 2);
  site.publish("board", 4);
  await hears("board", 4);
  assert.deepEqual(await page.evaluate(() => globalThis.late), [2, 3, 4]);
  assert.deepEqual(await heard(), [1, 2, 3, 4].map((data) => ["board", data]));
});

test("a token is renewed in time, on the same socket", async () => {
  site.seconds = 6;
  await opened();
  await page.waitForFunction(() => lineside.status === "open");
  const asked = site.tokens;
  while (site.tokens < asked + 2) await page.waitForRequest("**/token");
  site.publish("board", "still here");
  await hears("board", "still here");
  assert.equal(sockets.length, 1);
});

test("when nobody is signed in any more, it stops", async () => {
  site.seconds = 3;
  await opened();
  site.user = null;
  await page.waitForFunction(() => lineside.status === "stopped");
});

test("a page that is gone back to resumes, as whoever is signed in by then", async () => {
  await opened();
  site.publish("board", 1);
  await hears("board", 1);
  await page.evaluate(() => {
    events.splice(0);
    globalThis.wasKept = false;
    addEventListener("pageshow", ({ persisted }) => (globalThis.wasKept = persisted));
  });
  await page.goto(`${site.url}elsewhere`);
  site.publish("board", 2);
  site.user = "2";
  await page.goBack({ waitUntil: "commit" });
  await isOpen();
  await hears("board", 2);
  site.publish("user:1", "for the one before");
  site.publish("user:2", "for the one now");
  await hears("user:2", "for the one now");
  assert.equal(await page.evaluate(() => globalThis.wasKept), true);
  assert.deepEqual(await heard(), [["board", 1], ["board", 2], ["user:2", "for the one now"]]);
  assert.deepEqual(await told("lost"), [{ channels: ["user:2"] }]);
});
