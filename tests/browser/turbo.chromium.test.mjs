// Tests of Turbo streams in Chromium with stock clients from npm, with and without the module lineside/turbo.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Guest, MODULE, STOCK, everyTest, openPage, room, useRooms } from "./guest.mjs";

useRooms();

everyTest("an update arrives once", async (query) => {
  const guest = await Guest.open({ query });
  await room.post("first");
  await room.post("second");
  await guest.sees("second");
  assert.deepEqual(await guest.texts(), ["first", "second"]);
  assert.deepEqual(guest.faults, []);
});

for (const [name, query] of [
  ["Turbo 7", `${MODULE}&turbo=turbo7`],
  ["a bundle of the module", "turbo=bundle"],
]) {
  test(`a stream resumes with ${name}`, async () => {
    const guest = await Guest.open({ query });
    await room.post("first");
    await guest.sees("first");
    await guest.consumer("disconnect");
    await guest.disconnected();
    await room.post("second");
    await guest.consumer("connect");
    await guest.sees("second");
    await guest.is("connected");
    assert.deepEqual(await guest.texts(), ["first", "second"]);
    assert.deepEqual(await guest.events(), ["connected", "connected", "disconnected", "disconnected", "connected", "connected"]);
    assert.deepEqual(guest.faults, []);
  });
}

test("a source without a cursor begins with its subscription and then resumes", async () => {
  await room.post("rendered");
  const guest = await Guest.open({ query: `${MODULE}&cached=1` });
  await room.post("first");
  await guest.sees("first");
  await guest.consumer("disconnect");
  await guest.disconnected();
  await room.post("second");
  await guest.consumer("connect");
  await guest.sees("second");
  assert.deepEqual(await guest.texts(), ["rendered", "first", "second"]);
});

everyTest("an update between render and subscribe arrives once", async (query) => {
  const guest = await Guest.open({ query, meanwhile: () => room.post("meanwhile") });
  await guest.sees("meanwhile");
  await room.post("later");
  await guest.sees("later");
  assert.deepEqual(await guest.texts(), ["meanwhile", "later"]);
});

everyTest("a permanent source has no gap over a visit and repeats nothing", async (query) => {
  const guest = await Guest.open({ query: `${query}&kept=1` });
  await room.append("inside", "before");
  await guest.sees("before", "inside");
  let sent = 0;
  let isOver = false;
  const sending = (async () => {
    while (!isOver) await room.append("inside", `${++sent}.`);
  })();
  for (const name of ["elsewhere"]) await guest.click(name);
  await guest.page.goBack();
  await guest.page.getByRole("heading", { name: "board" }).waitFor();
  isOver = true;
  await sending;
  await room.append("inside", "after");
  await guest.sees("after", "inside");
  const expected = ["before", ...Array.from({ length: sent }, (_, at) => `${at + 1}.`), "after"];
  assert.deepEqual(await guest.texts("inside"), expected);
  assert.equal(guest.sockets, 1);
});

everyTest("a page that is shown again has what was published meanwhile", async (query) => {
  const guest = await Guest.open({ query });
  await room.post("before");
  await guest.sees("before");
  await guest.click("elsewhere");
  await guest.connected();
  await room.append("posts", "meanwhile");
  await guest.page.goBack();
  await guest.page.getByRole("heading", { name: "board" }).waitFor();
  await guest.sees("meanwhile");
  await room.append("posts", "after");
  await guest.sees("after");
  const texts = await guest.texts();
  assert.deepEqual(query === STOCK ? [...new Set(texts)] : texts, ["before", "meanwhile", "after"]);
  assert.equal(guest.sockets, 1);
});

everyTest("a page that is morphed repeats nothing and misses nothing", async (query) => {
  const guest = await Guest.open({ query: `${query}&refresh=morph` });
  await room.post("before");
  await guest.sees("before");
  const morphed = guest.page.evaluate(() => new Promise((resolve) => addEventListener("turbo:render", () => resolve())));
  await room.refresh();
  await room.post("behind the refresh");
  await morphed;
  await room.post("after");
  await guest.sees("after");
  assert.deepEqual(await guest.texts(), ["before", "behind the refresh", "after"]);
  assert.equal(guest.sockets, 1);
});

everyTest("updates during a cut of the network arrive after it", async (query) => {
  const guest = await Guest.open({ query });
  await room.post("before");
  await guest.sees("before");
  room.proxy.cut();
  await room.post("during 1");
  await guest.page.waitForEvent("websocket");
  await room.post("during 2");
  room.proxy.heal();
  await guest.sees("during 2");
  await room.post("after");
  await guest.sees("after");
  const texts = await guest.texts();
  // A stock client can receive again what it has not confirmed.
  if (query === STOCK) assert.deepEqual([...new Set(texts)], ["before", "during 1", "during 2", "after"]);
  else assert.deepEqual(texts, ["before", "during 1", "during 2", "after"]);
});

everyTest("a planned restart of the sidecar loses nothing", async (query) => {
  const guest = await Guest.open({ query });
  await room.post("before");
  await guest.sees("before");
  await room.sidecar.stop();
  await room.post("during");
  await room.startSidecar();
  await guest.sees("during");
  await room.post("after");
  await guest.sees("after");
  const texts = await guest.texts();
  assert.deepEqual(texts, ["before", "during", "after"]);
});

test("a page with the module refreshes itself after a crash of the sidecar", async () => {
  const guest = await Guest.open({ query: MODULE });
  await guest.page.evaluate(() => (Math.random = () => 0));
  const born = await guest.born();
  await room.post("before");
  await guest.sees("before");
  await room.sidecar.stop("SIGKILL");
  await room.startSidecar();
  await room.post("after the crash");
  await guest.page.waitForFunction(() => events.includes("lost"));
  await guest.sees("after the crash");
  await guest.page.waitForFunction(() => document.documentElement.dataset.lineside === "connected");
  await room.post("later");
  await guest.sees("later");
  assert.deepEqual(await guest.texts(), ["before", "after the crash", "later"]);
  assert.equal(await guest.born(), born);
});

everyTest("a page from the HTTP cache shows what came after it was rendered", async (query) => {
  const guest = await Guest.open({ query });
  const body = await guest.page.evaluate(async () => (await fetch(location.href)).text());
  await guest.page.route("**/rooms/board*", (route) => route.fulfill({ contentType: "text/html", body }));
  await guest.page.reload();
  await guest.connected();
  await room.post("first");
  await guest.sees("first");
  await guest.page.goto("about:blank");
  await room.post("second");
  await guest.page.goBack();
  await guest.sees("second");
  await room.post("third");
  await guest.sees("third");
  assert.deepEqual(await guest.texts(), ["first", "second", "third"]);
});

// Each of the two sources loses messages before and after the refresh. A loaded document has only its own events.
for (const [kind, control, { requests, losses }] of [
  ["visit", "", { requests: 1, losses: 4 }],
  ["load of the document", '<meta name="turbo-visit-control" content="reload">', { requests: 2, losses: 2 }],
]) {
  test(`a page that comes again from a cache is refreshed once, by a ${kind}`, async () => {
    const guest = await Guest.open({ query: MODULE });
    const withoutDelay = () => (Math.random = () => 0);
    await guest.page.addInitScript(withoutDelay);
    await guest.page.evaluate(withoutDelay);
    await guest.page.evaluate(() => (globalThis.isBefore = true));
    const body = await guest.page.evaluate(async () => (await fetch(location.href)).text());
    let visits = 0;
    await guest.page.route("**/rooms/board*", (route) => {
      visits++;
      return route.fulfill({ contentType: "text/html", body: body.replace("<head>", `<head>${control}`) });
    });
    await room.sidecar.stop("SIGKILL");
    await room.startSidecar();
    await guest.page.waitForFunction(
      ([count, isLoaded]) => !isLoaded === Boolean(globalThis.isBefore) && events.filter((it) => it === "lost").length === count,
      [losses, requests === 2],
    );
    await room.append("posts", "after");
    await guest.sees("after");
    assert.equal(visits, requests);
  });
}

test("two frames of a tab are refreshed though both showed the same cursor", async () => {
  const page = await openPage();
  await page.context().request.get(`${room.url}/sign_in/ada`);
  const frame = `<iframe src="/rooms/board?${MODULE}"></iframe>`;
  await page.route("**/frames", (route) => route.fulfill({ contentType: "text/html", body: frame + frame }));
  await page.goto(`${room.url}/frames`);
  const guests = page.frames().slice(1).map((it) => new Guest(it));
  for (const guest of guests) {
    await guest.connected();
    await guest.page.evaluate(() => (Math.random = () => 0));
  }
  const [first, second] = guests;
  await second.consumer("disconnect");
  const refresh = page.waitForRequest("**/rooms/board*");
  await room.sidecar.stop("SIGKILL");
  await room.startSidecar();
  await room.post("after");
  await refresh;
  await first.sees("after");
  assert.deepEqual(await second.texts(), []);
  await second.consumer("connect");
  await second.sees("after");
});

test("a page that is offline is refreshed when it is online again", async () => {
  const guest = await Guest.open({ query: MODULE });
  let visits = 0;
  await guest.page.route("**/rooms/board*", (route) => {
    visits++;
    return route.continue();
  });
  await guest.page.evaluate(() => {
    Math.random = () => 0;
    globalThis.checks = 0;
    const get = () => {
      checks++;
      return false;
    };
    Object.defineProperty(navigator, "onLine", { get, configurable: true });
  });
  await room.sidecar.stop("SIGKILL");
  await room.startSidecar();
  await room.post("after the crash");
  await guest.page.waitForFunction(() => checks > 1);
  assert.equal(visits, 0);
  assert.deepEqual(await guest.texts(), []);
  await guest.page.evaluate(() => Object.defineProperty(navigator, "onLine", { get: () => true }));
  await guest.sees("after the crash");
  await guest.is("connected");
});

test("the attribute of the status is written only when it changes", async () => {
  const guest = await Guest.open({ query: MODULE });
  await guest.is("connected");
  await guest.page.evaluate(() => {
    globalThis.writes = 0;
    new MutationObserver((records) => (writes += records.length)).observe(document.documentElement, {
      attributeFilter: ["data-lineside"],
    });
  });
  await room.post("first");
  await guest.sees("first");
  assert.equal(await guest.page.evaluate(() => writes), 0);
});

test("a page with the refresh turned off says that it has lost messages", async () => {
  const guest = await Guest.open({ query: `${MODULE}&off=1` });
  await guest.page.evaluate(() => (Math.random = () => 0));
  await guest.is("connected");
  await room.sidecar.stop("SIGKILL");
  await guest.is("disconnected");
  await room.startSidecar();
  await guest.is("lost");
  await room.append("posts", "after");
  await guest.sees("after");
  assert.deepEqual(await guest.events(), [
    "connected", "connected", "disconnected", "disconnected", "connected", "lost", "connected", "lost",
  ]);
  await guest.click("elsewhere");
  await guest.is("connected");
});

everyTest("a restart of Puma closes no socket and loses nothing", async (query) => {
  const guest = await Guest.open({ query });
  await room.post("before");
  await guest.sees("before");
  await room.puma.stop();
  await room.startPuma();
  await room.post("after");
  await guest.sees("after");
  assert.deepEqual(await guest.texts(), ["before", "after"]);
  assert.equal(guest.sockets, 1);
});

everyTest("a stream of a user reaches no other user", async (query) => {
  const ada = await Guest.open({ query, user: "ada" });
  const grace = await Guest.open({ query, user: "grace" });
  await room.append("posts", "for ada", "user:ada");
  await room.append("posts", "for grace", "user:grace");
  await room.post("for all");
  await Promise.all([ada.sees("for all"), grace.sees("for all"), ada.sees("for ada"), grace.sees("for grace")]);
  assert.deepEqual((await ada.texts()).sort(), ["for ada", "for all"]);
  assert.deepEqual((await grace.texts()).sort(), ["for all", "for grace"]);
});

everyTest("a sign-out ends the connection", async (query) => {
  const ada = await Guest.open({ query, user: "ada" });
  const grace = await Guest.open({ query, user: "grace" });
  await ada.page.context().request.get(`${room.url}/sign_out`);
  await room.disconnect("ada");
  await ada.disconnected();
  await room.append("posts", "for ada", "user:ada");
  await room.post("for all");
  await grace.sees("for all");
  assert.deepEqual(await ada.texts(), []);
  assert.equal(grace.sockets, 1);
});

test("a stream ends when its name expires, with stock clients", async () => {
  const guest = await Guest.open({ query: "expiring=1" });
  await room.append("posts", "before");
  await guest.sees("before");
  const rejected = guest.page.evaluate(() => {
    const { subscription } = document.querySelector("turbo-cable-stream-source");
    return new Promise((resolve) => (subscription.rejected = () => resolve(true)));
  });
  assert.equal(await rejected, true);
  await room.append("posts", "after");
  const other = await Guest.open();
  await room.append("posts", "marker");
  await other.sees("marker");
  assert.deepEqual(await guest.texts(), ["before"]);
});

test("a page with the module gets a new name when that of a stream expires", async () => {
  const guest = await Guest.open({ query: `${MODULE}&expiring=1` });
  await guest.page.evaluate(() => (Math.random = () => 0));
  const name = () => guest.page.locator("turbo-cable-stream-source").first().getAttribute("signed-stream-name");
  const first = await name();
  await guest.page.waitForFunction(
    (old) => document.querySelector("turbo-cable-stream-source").getAttribute("signed-stream-name") !== old,
    first,
  );
  await guest.connected();
  assert.ok((await guest.events()).includes("lost"));
});

test("a page that the app disconnects without a reconnect is not refreshed", async () => {
  const guest = await Guest.open({ query: MODULE });
  await guest.page.evaluate(() => (Math.random = () => 0));
  const visits = guest.countVisits();
  await room.disconnectRemotely("ada", false);
  await guest.is("disconnected");
  await guest.page.evaluate(() => new Promise((resolve) => setTimeout(resolve)));
  assert.equal(visits.count, 0);
  assert.ok(!(await guest.events()).includes("lost"));
});
