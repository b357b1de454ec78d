import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";

import { Demo } from "./demo.mjs";
import { Visitor, launchBrowser } from "./visitor.mjs";

const PICTURES = new URL("../../tmp/screenshots/", import.meta.url).pathname;

let demo, browser, ada, grace;

before(async () => {
  browser = await launchBrowser();
  demo = await Demo.start();
  ada = await Visitor.signIn(browser, demo.url, "Ada");
  grace = await Visitor.signIn(browser, demo.url, "Grace");
});

after(async () => {
  await browser?.close();
  await demo?.stop();
});

test("a post on the board reaches everybody, with the time it took", async () => {
  await ada.post("the 8:15 is on time");
  for (const visitor of [ada, grace]) {
    const item = await visitor.sees("posts", "the 8:15 is on time");
    assert.match(await item.locator("time").textContent(), /^seen after \d+\.\d (ms|s)$/);
  }
});

test("a notification reaches its user and nobody else", async () => {
  await grace.notify("Ada", "for Ada alone");
  await ada.sees("notices", "for Ada alone");
  await ada.notify("Grace", "sent after it");
  await grace.sees("notices", "sent after it");
  assert.equal(await grace.knowsOf("for Ada alone"), false);
  assert.equal(await ada.knowsOf("sent after it"), false);
});

test("a notification reaches every page of its user", async () => {
  const phone = await Visitor.signIn(browser, demo.url, "Ada");
  await grace.notify("Ada", "on both pages");
  await Promise.all([ada, phone].map((visitor) => visitor.sees("notices", "on both pages")));
  await phone.page.context().close();
});

test("what is posted between a page's rendering and its connection is not missed", async () => {
  await ada.reload(async () => {
    await grace.post("in between");
    await grace.sees("posts", "in between");
  });
  await ada.sees("posts", "in between");
});

test("what a page was rendered with and receives again is shown once", async () => {
  const cursor = await ada.cursor();
  await ada.post("only once");
  await ada.sees("posts", "only once");
  await ada.reload(() =>
    ada.page.locator('meta[name="lineside-cursor"]').evaluate((meta, older) => {
      meta.content = older;
    }, cursor),
  );
  await grace.post("the one after");
  await ada.sees("posts", "the one after");
  assert.equal(ada.frames.filter((frame) => frame.includes("only once")).length, 1);
  assert.equal(await ada.page.locator("#posts li").filter({ hasText: "only once" }).count(), 1);
});

test("a page whose token is no good any more fetches a fresh one", async () => {
  const renewed = ada.page.waitForResponse((response) => response.url().endsWith("/lineside/token"));
  await ada.reload(() =>
    ada.page.locator('meta[name="lineside-token"]').evaluate((meta) => {
      meta.content = "no token";
    }),
  );
  assert.equal((await renewed).status(), 200);
  await grace.post("for a renewed token");
  await ada.sees("posts", "for a renewed token");
});

test("a text with markup is shown as text", async () => {
  await ada.post("<b>not bold</b> </script>");
  const item = await grace.sees("posts", "<b>not bold</b> </script>");
  assert.equal(await item.locator("b").count(), 0);
});

test("what was posted while the sidecar was gone is there when it is back", async () => {
  await demo.kill("lineside", "SIGKILL");
  await grace.page.locator('#line:not([data-state="open"])').waitFor();
  await ada.post("said into the dark");
  demo.run("lineside");
  for (const visitor of [ada, grace]) {
    await visitor.isConnected();
    await visitor.sees("posts", "said into the dark");
  }
  await ada.post("and in the light again");
  await grace.sees("posts", "and in the light again");
});

test("a person who is not signed in sees the sign-in and no board", async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(demo.url);
  await page.getByRole("button", { name: "Ada" }).waitFor();
  assert.equal(await page.locator("#posts").count(), 0);
  const response = await page.request.get(demo.url, { headers: { Accept: "application/json" } });
  assert.equal(response.status(), 401);
  await context.close();
});

test("the page fits a desk and a phone, by day and by night", async () => {
  mkdirSync(PICTURES, { recursive: true });
  for (const [name, viewport] of Object.entries({ desk: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } })) {
    for (const colorScheme of ["light", "dark"]) {
      const visitor = await Visitor.signIn(browser, demo.url, "Katherine", { viewport, colorScheme });
      await visitor.post(`seen from a ${name}, ${colorScheme}`);
      await visitor.sees("posts", `seen from a ${name}, ${colorScheme}`);
      await visitor.page.screenshot({ path: `${PICTURES}/${name}-${colorScheme}.png`, animations: "disabled" });
      const width = await visitor.page.evaluate(() => document.documentElement.scrollWidth);
      assert.equal(width, viewport.width);
      assert.deepEqual(visitor.faults, []);
      await visitor.page.context().close();
    }
  }
});
