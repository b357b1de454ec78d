import assert from "node:assert/strict";
import { mkdirSync, readFileSync, readdirSync } from "node:fs";
import { after, before, test } from "node:test";

import { Demo } from "./demo.mjs";
import { Visitor, launchBrowser } from "./visitor.mjs";

const DEMO = new URL("../../demo/", import.meta.url).pathname;
const PICTURES = new URL("../../tmp/screenshots/", import.meta.url).pathname;

// Time-out of a switch. A stock client connects again up to 15 s after a crash. A page with Turbo is then refreshed within
// 5 s, and within 10 s more if it loses messages again.
const SWITCH_MS_MAX = 90_000;

const DESK = { width: 1280, height: 940 };
const PHONE = { width: 390, height: 844 };

let demo, browser, ada, grace;

// Opacity of an element on the screen: its own times that of each element around it.
function opacity(element) {
  let product = 1;
  for (let each = element; each; each = each.parentElement) product *= getComputedStyle(each).opacity;
  return product;
}

// Pixels of the window that are cut off on the right, and of each frame below.
function hiddenPixels() {
  const below = [...document.querySelectorAll("iframe")].map(
    ({ contentDocument: { documentElement: root } }) => root.scrollHeight - root.clientHeight,
  );
  return [document.documentElement.scrollWidth - innerWidth, ...below];
}

// Name of a picture of the window.
const picture = (name, path) => [name, path].filter(Boolean).join("-");

before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  browser = await launchBrowser();
  demo = await Demo.start();
  ada = await Visitor.signIn(browser, demo.url, "Ada");
  grace = await Visitor.signIn(browser, demo.url, "Grace");
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

test("a post reaches every page and shows its delay", async () => {
  await ada.post("the 8:15 is on time");
  for (const visitor of [ada, grace]) {
    const item = await visitor.waitFor("posts", "the 8:15 is on time");
    assert.match(await item.locator("time").textContent(), /^received after \d+\.\d (ms|s)$/);
  }
});

test("a notification reaches its user and nobody else", async () => {
  await grace.notify("Ada", "for Ada alone");
  await ada.waitFor("notices", "for Ada alone");
  await ada.notify("Grace", "sent after it");
  await grace.waitFor("notices", "sent after it");
  assert.equal(await grace.hasReceived("for Ada alone"), false);
  assert.equal(await ada.hasReceived("sent after it"), false);
});

test("a notification reaches every page of its user", async () => {
  const phone = await Visitor.signIn(browser, demo.url, "Ada");
  await grace.notify("Ada", "on both pages");
  await Promise.all([ada, phone].map((visitor) => visitor.waitFor("notices", "on both pages")));
  await phone.page.context().close();
});

test("a post between rendering and connect is received", async () => {
  await ada.reload(async () => {
    await grace.post("in between");
    await grace.waitFor("posts", "in between");
  });
  await ada.waitFor("posts", "in between");
});

test("a post that is rendered and replayed is shown once", async () => {
  const cursor = await ada.cursor();
  await ada.post("only once");
  await ada.waitFor("posts", "only once");
  await ada.reload(() =>
    ada.page.locator('meta[name="lineside-cursor"]').evaluate((meta, older) => {
      meta.content = older;
    }, cursor),
  );
  await grace.post("the one after");
  await ada.waitFor("posts", "the one after");
  assert.equal(ada.frames.filter((frame) => frame.includes("only once")).length, 1);
  assert.equal(await ada.page.locator("#posts li").filter({ hasText: "only once" }).count(), 1);
});

test("a page with an invalid token fetches a fresh one", async () => {
  const renewed = ada.page.waitForResponse((response) => new URL(response.url()).pathname === "/lineside/token");
  await ada.reload(() =>
    ada.page.locator('meta[name="lineside-token"]').evaluate((meta) => {
      meta.content = "no token";
    }),
  );
  assert.equal((await renewed).status(), 200);
  await grace.post("for a renewed token");
  await ada.waitFor("posts", "for a renewed token");
});

test("a text with markup is shown as text", async () => {
  await ada.post("<b>not bold</b> </script>");
  const item = await grace.waitFor("posts", "<b>not bold</b> </script>");
  assert.equal(await item.locator("b").count(), 0);
});

test("a sign-out in one tab signs out the other tab", async () => {
  const katherine = await Visitor.signIn(browser, demo.url, "Katherine");
  const tab = await katherine.page.context().newPage();
  await tab.goto(katherine.page.url());
  await tab.locator('#line[data-state="open"]').waitFor();
  await katherine.page.getByRole("button", { name: "Sign out" }).click();
  await tab.getByRole("button", { name: "Katherine" }).waitFor();
  await katherine.page.context().close();
});

// Pages with Turbo: with the module lineside/turbo, and with stock clients only.
for (const path of ["turbo", "stock"]) {
  test(`a post with Turbo reaches every page once, without a reload (/${path})`, async () => {
    const pages = await Promise.all(["Ada", "Grace"].map((name) => Visitor.signIn(browser, demo.url, name, { path })));
    for (const { page } of pages) await page.evaluate(() => (globalThis.isFirst = true));
    for (const [index, text] of ["one", "two", "three"].entries()) {
      await pages[index % 2].submit(`${text} /${path}`);
    }
    for (const visitor of pages) {
      await visitor.waitFor("posts", `three /${path}`);
      assert.deepEqual(await visitor.posts(`/${path}`), ["three", "two", "one"]);
      assert.equal(await visitor.page.evaluate(() => globalThis.isFirst), true);
      assert.deepEqual(visitor.faults, []);
      await visitor.page.context().close();
    }
  });
}

test("posts with Turbo during restarts arrive once and in order", async () => {
  const pages = await Promise.all(["Ada", "Grace"].map((name) => Visitor.signIn(browser, demo.url, name, { path: "turbo" })));
  // Time-out of the reconnect, which Turbo's client begins up to 15 s after the restart of the sidecar.
  for (const { page } of pages) page.setDefaultTimeout(SWITCH_MS_MAX);
  const expected = [];
  for (const name of ["app", "sidecar"]) {
    await pages[0].press(name);
    for (let number = 1; number <= 5; number++) {
      const text = `${name} ${number}`;
      await pages[0].submit(`${text} (restarts)`);
      expected.unshift(text);
    }
    for (const visitor of pages) {
      await visitor.waitFor("posts", `${expected[0]} (restarts)`);
      assert.deepEqual(await visitor.posts("(restarts)"), expected);
      await visitor.isConnected();
    }
  }
  for (const { page } of pages) await page.context().close();
});

test("a notification with Turbo refreshes the pages of its user only", async () => {
  const [ada, grace] = await Promise.all(["Ada", "Grace"].map((name) => Visitor.signIn(browser, demo.url, name, { path: "turbo" })));
  await grace.page.getByLabel("Post to the board").fill("half a text");
  await grace.notify("Ada", "morphed for Ada");
  await ada.waitFor("notices", "morphed for Ada");
  await ada.notify("Grace", "morphed for Grace");
  await grace.waitFor("notices", "morphed for Grace");
  assert.equal(await grace.hasReceived("morphed for Ada"), false);
  // The morph keeps the text that is not sent yet, and the status.
  assert.equal(await grace.page.getByLabel("Post to the board").inputValue(), "half a text");
  await grace.isConnected();
  for (const { page } of [ada, grace]) await page.context().close();
});

test("a sign-out ends the Turbo streams of the user", async () => {
  const katherine = await Visitor.signIn(browser, demo.url, "Katherine", { path: "turbo" });
  const tab = await katherine.page.context().newPage();
  await tab.goto(katherine.page.url());
  await tab.locator('#line[data-state="open"]').waitFor();
  await katherine.page.getByRole("button", { name: "Sign out" }).click();
  await katherine.page.getByRole("button", { name: "Katherine" }).waitFor();
  await tab.locator('#line[data-state="connecting"]').waitFor();
  await katherine.page.context().close();
});

// Results of the switches for each page: with the module lineside.js, and with Turbo.
const once = /^\d+ sent, none lost, no duplicates$/;
const twice = /^\d+ sent, none lost, (no|\d+) duplicates$/;
const refetched = /^\d+ sent, loss reported and refetched, no duplicates$/;
const missing = /^\d+ sent, \d+ missing, (no|\d+) duplicates$/;
const RESULTS = {
  "": { app: once, sidecar: once, crash: refetched, offline: once },
  turbo: { app: once, sidecar: once, crash: refetched, offline: once },
  stock: { app: once, sidecar: twice, crash: missing, offline: twice },
};

for (const [path, results] of Object.entries(RESULTS)) {
  test(`each switch keeps its promise on both pages (/${path})`, async () => {
    const context = await browser.newContext({ viewport: DESK });
    const page = await context.newPage();
    let closed = 0;
    page.on("websocket", (socket) => socket.on("close", () => closed++));
    await page.goto(demo.url + path);
    const seats = ["left", "right"].map((name) => page.frameLocator(`iframe[name="${name}"]`));
    for (const seat of seats) await seat.locator('#line[data-state="open"]').waitFor();

    for (const [name, result] of Object.entries(results)) {
      const card = page.locator(`[data-switch="${name}"]`);
      await card.getByRole("button").click();
      await page.locator(`[data-switch="${name}"][data-state="under way"]`).waitFor();
      // Results of the other switches stay readable.
      for (const output of await page.locator("output").all()) assert.equal(await output.evaluate(opacity), 1);
      await page.locator(`[data-switch="${name}"]:is([data-state="kept"], [data-state="broken"], [data-state="failed"])`)
        .waitFor({ timeout: SWITCH_MS_MAX });
      assert.match(await card.locator("output").textContent(), result);
      await page.locator(`[data-switch="${name}"][data-state="kept"]`).waitFor();
      // A restart of the app closes no socket, because the sidecar has them.
      if (name === "app") assert.equal(closed, 0);
    }
    for (const seat of seats) {
      for (const count of path === "stock" ? [] : ["missing", "twice"]) {
        assert.equal(await seat.locator(`[data-count="${count}"]`).textContent(), "0");
      }
    }
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: `${PICTURES}/${picture("switches", path)}-${colorScheme}.png`, animations: "disabled" });
    }
    await context.close();
  });
}

test("each panel shows lines of code that the demo contains", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const files = readdirSync(DEMO, { recursive: true }).map(String);
  const text = (pattern) => files.filter((path) => pattern.test(path)).map((path) => readFileSync(DEMO + path, "utf8")).join();
  const code = text(/^(app\/(models|controllers)|public)\/.*\.(rb|js)$|^config\/cable\.yml$/);
  const views = text(/^app\/views\/.*\.erb$/);
  for (const [path, trafficCount] of Object.entries({ "": 2, stock: 4, turbo: 5 })) {
    await page.goto(demo.url + path);
    const left = page.frameLocator('iframe[name="left"]');
    await left.locator("#notices").waitFor();
    for (const [panels, lineCount] of [[page.locator("#switches article"), 1], [page.locator("#traffic"), trafficCount], [left.locator("section"), 2]]) {
      for (const panel of await panels.all()) {
        const lines = await panel.locator("code").allTextContents();
        assert.equal(lines.length, lineCount);
        for (const line of lines) assert.ok((line.startsWith("<%=") ? views : code).includes(line), line);
      }
    }
    await left.locator('#line[data-state="open"]').waitFor();
  }
  await context.close();
});

test("a visitor who is not signed in sees the sign-in page only", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  const url = `${demo.url}seats/left`;
  await page.goto(url);
  await page.getByRole("button", { name: "Ada" }).waitFor();
  assert.equal(await page.locator("#posts").count(), 0);
  const response = await page.request.get(url, { headers: { Accept: "application/json" } });
  assert.equal(response.status(), 401);
  await context.close();
});

for (const path of ["", "turbo"]) {
  test(`the window fits desktop and phone, in light and dark mode (/${path})`, async () => {
    for (const [name, viewport] of Object.entries({ desk: DESK, phone: PHONE })) {
      for (const colorScheme of ["light", "dark"]) {
        const context = await browser.newContext({ viewport, colorScheme });
        const visitor = new Visitor(await context.newPage());
        await visitor.page.goto(demo.url + path);
        const [left, right] = ["left", "right"].map((seat) => visitor.page.frameLocator(`iframe[name="${seat}"]`));
        const text = `${path || "seen"} from a ${name}, ${colorScheme}`;
        await left.getByLabel("Post to the board").fill(text);
        await left.getByRole("button", { name: "Post", exact: true }).click();
        for (const seat of [left, right]) await seat.locator("#posts li").filter({ hasText: text }).waitFor();
        // Waits for some dots in the chart.
        await visitor.page.waitForFunction((count) => Number(frames[0].document.querySelector("[data-count=seen]").textContent) >= count, 20);
        await visitor.page.screenshot({ path: `${PICTURES}/${picture(name, path)}-${colorScheme}.png`, animations: "disabled" });
        // The window adapts the height of the seats a moment after their content.
        const fits = `(${hiddenPixels})().every((pixels) => pixels === 0)`;
        await visitor.page.waitForFunction(fits).catch(() => undefined);
        assert.deepEqual(await visitor.page.evaluate(hiddenPixels), [0, 0, 0]);
        // The second user's page begins on the first screen.
        const { y } = await visitor.page.locator('iframe[name="right"]').boundingBox();
        assert.ok(y + (await visitor.page.evaluate(() => scrollY)) < viewport.height, `${y}`);
        assert.deepEqual(visitor.faults, []);
        await context.close();
      }
    }
  });
}
