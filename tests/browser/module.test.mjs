// What lineside.js does, against servers that follow a script.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { transform } from "esbuild";

import { connect } from "../../app/assets/javascripts/lineside.js";
import { Page, Server, tokenOf } from "./scripted.mjs";

const ROOT = new URL("../../", import.meta.url).pathname;
const MODULE = `${ROOT}app/assets/javascripts/lineside.js`;
const MINIFIED_BYTES_MAX = 4096;

// Every wait is its shortest, unless a test says otherwise.
let random = 0;
Math.random = () => random;

function fact(name, body) {
  test(name, { timeout: 20_000 }, async (t) => {
    random = 0;
    const page = new Page();
    const server = await Server.start();
    const opened = [];
    const open = (options = {}) => {
      const lineside = connect({ url: server.url, tokenUrl: server.tokenUrl, cursor: "e.100", ...options });
      lineside.events = [];
      for (const type of ["status", "lost", "refused"])
        lineside.addEventListener(type, ({ detail }) => lineside.events.push([type, detail]));
      opened.push(lineside);
      return lineside;
    };
    t.after(() => {
      opened.forEach((lineside) => lineside.close());
      server.stop();
      page.leave();
    });
    await body({ t, page, server, open });
  });
}

const told = (lineside, type) => lineside.events.filter(([of]) => of === type).map(([, detail]) => detail);

// Resolves with the next event of that type, or of that status.
const until = (lineside, type, status) =>
  new Promise((resolve) =>
    lineside.addEventListener(type, ({ detail }) => (!status || detail.status === status) && resolve(detail)),
  );

const subscribed = (request, recovered = true, cursor = request.after) => ({
  type: "subscribed",
  channel: request.channel,
  cursor,
  recovered,
  ref: request.ref,
});

fact("the connect names token, cursor and channels, and the URL names none of them", async ({ server, open }) => {
  const lineside = open({ token: "secret" });
  lineside.subscribe("news", () => {});
  lineside.subscribe("orders:7", () => {}, { token: "opens-7", after: "e.90" });
  assert.equal(lineside.status, "connecting");
  const peer = await server.peer();
  const isOpen = until(lineside, "status", "open");
  assert.deepEqual(await peer.welcomes(), {
    type: "connect",
    token: "secret",
    after: "e.100",
    subscribe: [
      { channel: "news", after: "e.100" },
      { channel: "orders:7", token: "opens-7", after: "e.90" },
    ],
  });
  assert.equal(peer.url, "/lineside");
  assert.equal(peer.protocol, "lineside-v1");
  await isOpen;
  assert.equal(lineside.status, "open");
});

fact("what is not given is read from the page's tags", async ({ server, page, open }) => {
  page.tags = { "lineside-url": server.url, "lineside-token": "from-page", "lineside-cursor": "e.55" };
  open({ url: undefined, cursor: undefined });
  const { token, after } = await (await server.peer()).welcomes();
  assert.deepEqual([token, after], ["from-page", "e.55"]);
});

fact("without a URL it says what to do, and without a cursor it says so", async ({ server, open }) => {
  assert.throws(() => open({ url: undefined }), /give connect\(\{ url \}\), or render lineside_meta_tags/);
  open({ cursor: undefined });
  assert.equal((await (await server.peer()).welcomes()).after, "unknown");
});

fact("a publication reaches each listener of its channel and no other", async ({ server, open }) => {
  const heard = { news: [], again: [], user: [], other: [] };
  const lineside = open({ token: tokenOf({ sub: "42", iat: 0, exp: 4e9 }) });
  lineside.subscribe("news", (data, { cursor }) => heard.news.push([data, cursor]));
  lineside.subscribe("news", (data) => heard.again.push(data));
  lineside.subscribe("other", (data) => heard.other.push(data));
  lineside.user((data) => heard.user.push(data));
  const peer = await server.peer();
  await peer.welcomes({ user: "42", channels: ["user:42", "news", "other"] });
  peer.publishes("news", 101);
  peer.publishes("user:42", 102);
  await peer.isHeard();
  assert.deepEqual(heard, { news: [[101, "e.101"]], again: [101], user: [102], other: [] });
});

fact("a listener that throws keeps nothing from the others", async ({ t, server, open }) => {
  const faults = t.mock.method(console, "error", () => {});
  const heard = [];
  const lineside = open();
  lineside.subscribe("news", () => {
    throw new Error("mine");
  });
  lineside.subscribe("news", (data) => heard.push(data));
  const peer = await server.peer();
  await peer.welcomes();
  peer.publishes("news", 101);
  await peer.isHeard();
  assert.deepEqual(heard, [101]);
  assert.equal(faults.mock.calls[0].arguments[0].message, "mine");
});

fact("a position at or before the last one is not heard again", async ({ server, open }) => {
  const heard = [];
  const lineside = open();
  lineside.subscribe("news", (data) => heard.push(data));
  const peer = await server.peer();
  await peer.welcomes({ recovered: true, lost: [] });
  peer.publishes("news", 99, 100, 101, 101, 90, 102);
  await peer.isHeard();
  assert.deepEqual(heard, [101, 102]);
});

for (const [last, say] of Object.entries({
  welcome: () => {},
  message: (peer) => peer.publishes("elsewhere", 140),
  ping: (peer) => peer.says({ type: "ping", cursor: "e.140" }),
  caught_up: (peer) => peer.says({ type: "caught_up", cursor: "e.140" }),
}))
  fact(`it resumes after the newest ${last}`, async ({ server, open }) => {
    const lineside = open({ token: "same" });
    lineside.subscribe("news", () => {});
    const peer = await server.peer();
    await peer.welcomes({ cursor: "e.120", recovered: true, lost: [] });
    peer.says({ type: "caught_up", cursor: "e.120" });
    say(peer);
    await peer.isHeard();
    await peer.ends();
    const { after, token, subscribe } = await (await server.peer()).hears();
    const cursor = last === "welcome" ? "e.120" : "e.140";
    assert.deepEqual([after, token, subscribe], [cursor, "same", [{ channel: "news", after: cursor }]]);
  });

fact("a cursor never goes back", async ({ server, open }) => {
  open();
  const peer = await server.peer();
  await peer.welcomes({ cursor: "e.60", recovered: true, lost: [] });
  await peer.isHeard("e.20");
  await peer.ends();
  assert.equal((await (await server.peer()).hears()).after, "e.100");
});

fact("a channel keeps a cursor of its own until it has caught up", async ({ server, open }) => {
  const heard = [];
  const lineside = open();
  let peer = await server.peer();
  await peer.welcomes();
  lineside.subscribe("orders", (data) => heard.push(data), { after: "e.50" });
  const request = await peer.hears();
  assert.deepEqual(request, { type: "subscribe", channel: "orders", after: "e.50", ref: request.ref });
  peer.says(subscribed(request));
  peer.publishes("orders", 60, 120);
  await peer.isHeard();
  await peer.ends();

  peer = await server.peer();
  const connect = await peer.welcomes({ cursor: "e.100", recovered: true, lost: [] });
  assert.deepEqual([connect.after, connect.subscribe], ["e.100", [{ channel: "orders", after: "e.120" }]]);
  peer.publishes("orders", 130);
  await peer.isHeard();
  await peer.ends();

  peer = await server.peer();
  const again = await peer.welcomes({ cursor: "e.100", recovered: true, lost: [] });
  assert.deepEqual([again.after, again.subscribe], ["e.100", [{ channel: "orders", after: "e.130" }]]);
  peer.says({ type: "caught_up", cursor: "e.150" });
  await peer.isHeard();
  await peer.ends();

  const last = await (await server.peer()).hears();
  assert.deepEqual([last.after, last.subscribe], ["e.150", [{ channel: "orders", after: "e.150" }]]);
  assert.deepEqual(heard, [60, 120, 130]);
});

fact("an older listener beside a live one has the past to itself", async ({ server, open }) => {
  const [first, second] = [[], []];
  const lineside = open();
  lineside.subscribe("orders", (data) => first.push(data));
  const peer = await server.peer();
  await peer.welcomes();
  peer.publishes("orders", 101);
  await peer.isHeard();
  lineside.subscribe("orders", (data) => second.push(data), { after: "e.50" });
  const request = await peer.hears();
  // On its way before the request was: not for the second one, whose replay will bring it in its place.
  peer.publishes("orders", 102);
  peer.says(subscribed(request));
  peer.publishes("orders", 60, 101, 102);
  peer.says({ type: "caught_up", channel: "orders", cursor: "e.102" });
  peer.publishes("orders", 103);
  await peer.isHeard();
  assert.deepEqual([first, second], [[101, 102, 103], [60, 101, 102, 103]]);
});

fact("two replays of one channel each end where their own does", async ({ server, open }) => {
  const [first, second] = [[], []];
  const lineside = open();
  const peer = await server.peer();
  await peer.welcomes();
  lineside.subscribe("orders", (data) => first.push(data), { after: "e.50" });
  const one = await peer.hears();
  lineside.subscribe("orders", (data) => second.push(data), { after: "e.40" });
  const other = await peer.hears();
  peer.says(subscribed(one));
  peer.publishes("orders", 60);
  peer.says({ type: "caught_up", channel: "orders", cursor: "e.100" }, subscribed(other));
  peer.publishes("orders", 45);
  await peer.isHeard();
  await peer.ends();
  const connect = await (await server.peer()).hears();
  assert.deepEqual([connect.after, connect.subscribe], ["e.100", [{ channel: "orders", after: "e.45" }]]);
  assert.deepEqual([first, second], [[60], [45]]);
});

fact("listeners that come together ask once, after the lowest cursor", async ({ server, open }) => {
  const lineside = open();
  const peer = await server.peer();
  await peer.welcomes();
  lineside.subscribe("orders", () => {}, { after: "e.70" });
  lineside.subscribe("orders", () => {}, { after: "e.60" });
  lineside.subscribe("orders", () => {}, { after: "e.80", token: "opens" });
  const { channel, after, token } = await peer.hears();
  assert.deepEqual([channel, after, token], ["orders", "e.60", "opens"]);
  await peer.isHeard();
  assert.equal(peer.unheard, 0);
});

fact("a listener that needs no past beside a live one asks for nothing", async ({ server, open }) => {
  const heard = [];
  const lineside = open();
  lineside.subscribe("orders", () => {});
  const peer = await server.peer();
  await peer.welcomes();
  await peer.isHeard("e.130");
  lineside.subscribe("orders", (data) => heard.push(data), { after: null });
  peer.publishes("orders", 131);
  peer.says({ type: "ping", cursor: "e.131" });
  assert.equal((await peer.hears()).type, "pong");
  assert.deepEqual(heard, [131]);
});

fact("a later listener starts where the page as it stands now does", async ({ server, page, open }) => {
  page.tags = { "lineside-cursor": "e.100" };
  const lineside = open({ cursor: undefined });
  const peer = await server.peer();
  await peer.welcomes();
  await peer.isHeard("e.200");
  page.tags["lineside-cursor"] = "e.180";
  lineside.subscribe("board", () => {});
  assert.equal((await peer.hears()).after, "e.180");
});

fact("more channels than a connect may name are asked for behind it", async ({ server, open }) => {
  const lineside = open();
  for (let number = 0; number < 130; number++) lineside.subscribe(`n:${number}`, () => {});
  const peer = await server.peer();
  const { subscribe } = await peer.welcomes();
  assert.equal(subscribe.length, 128);
  const rest = [await peer.hears(), await peer.hears()];
  assert.deepEqual(rest.map(({ type, channel, after }) => [type, channel, after]), [
    ["subscribe", "n:128", "e.100"],
    ["subscribe", "n:129", "e.100"],
  ]);
});

fact("what is asked for behind the connect continues where the connection was, too", async ({ server, open }) => {
  const lineside = open();
  for (let number = 0; number < 129; number++) lineside.subscribe(`c:${number}`, () => {});
  const first = await server.peer();
  await first.welcomes({ recovered: true, lost: [] });
  const last = await first.hears();
  first.says(subscribed(last), { type: "caught_up", channel: last.channel, cursor: "e.100" });
  await first.isHeard("e.150");
  await first.ends();
  const second = await server.peer();
  assert.equal((await second.welcomes({ cursor: "e.150" })).after, "e.150");
  const { channel, after } = await second.hears();
  assert.deepEqual([channel, after], ["c:128", "e.150"]);
});

fact("a page without a cursor continues where its welcome stood", async ({ server, open }) => {
  open({ cursor: "unknown" });
  const peer = await server.peer();
  assert.equal((await peer.welcomes({ cursor: "e.120" })).after, "unknown");
  await peer.isHeard();
  await peer.ends();
  assert.equal((await (await server.peer()).hears()).after, "e.120");
});

fact("in a new epoch what is listened to is lost, and small positions count again", async ({ server, open }) => {
  const heard = [];
  const lineside = open();
  lineside.subscribe("news", (data) => heard.push(data));
  let peer = await server.peer();
  await peer.welcomes({ recovered: true, lost: [] });
  await peer.ends();
  peer = await server.peer();
  await peer.welcomes({ cursor: "f.2", channels: ["news", "unheard"], recovered: false, lost: ["news", "unheard"] });
  peer.says({ type: "message", channel: "news", cursor: "f.2", data: "old" });
  peer.says({ type: "message", channel: "news", cursor: "f.3", data: "new" });
  await peer.isHeard("f.3");
  assert.deepEqual(told(lineside, "lost"), [{ channels: ["news"] }]);
  assert.deepEqual(heard, ["new"]);
  await peer.ends();
  assert.equal((await (await server.peer()).hears()).after, "f.3");
});

fact("a subscription that cannot resume is lost, and hears what comes", async ({ server, open }) => {
  const heard = [];
  const lineside = open();
  const peer = await server.peer();
  await peer.welcomes();
  lineside.subscribe("orders", (data) => heard.push(data), { after: "gone.1" });
  peer.says(subscribed(await peer.hears(), false, "e.110"));
  peer.publishes("orders", 111);
  await peer.isHeard();
  assert.deepEqual(told(lineside, "lost"), [{ channels: ["orders"] }]);
  assert.deepEqual(heard, [111]);
});

fact("a loss that comes unasked is told after its own time", async ({ t, server, open }) => {
  const lineside = open();
  lineside.subscribe("news", () => {});
  const peer = await server.peer();
  await peer.welcomes();
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  peer.says({ type: "lost", channels: ["news"], cursor: "e.150", after_ms: 800 });
  await peer.isHeard();
  t.mock.timers.tick(799);
  assert.deepEqual(told(lineside, "lost"), []);
  t.mock.timers.tick(1);
  assert.deepEqual(told(lineside, "lost"), [{ channels: ["news"] }]);
});

fact("pages that are lost one soon after the other are told later and later", async ({ t, server }) => {
  Object.assign(globalThis, { sessionStorage: {}, location: new URL("http://shop.example/orders") });
  t.after(() => ["sessionStorage", "location"].forEach((name) => delete globalThis[name]));
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.now() });
  const lost = [];
  let lineside;
  t.after(() => lineside.close());
  const load = async (name) => {
    lineside?.close();
    // Each load of a page has a module of its own.
    const { connect } = await import(`${MODULE}?load=${name}`);
    lineside = connect({ url: server.url, token: "t", cursor: "unknown" });
    lineside.addEventListener("lost", ({ detail }) => lost.push([name, ...detail.channels]));
    lineside.subscribe("news", () => {});
    const peer = await server.peer();
    const isOpen = until(lineside, "status", "open");
    await peer.welcomes({ recovered: false, lost: ["news"] });
    await isOpen;
    return peer;
  };
  const peer = await load("first");
  peer.says({ type: "lost", channels: ["news"], cursor: "e.150" });
  await peer.isHeard();
  assert.deepEqual(lost.splice(0), [["first", "news"], ["first", "news"]]);
  for (const [name, waitMs] of [["second", 1_000], ["third", 2_000]]) {
    await load(name);
    t.mock.timers.tick(waitMs - 1);
    assert.deepEqual(lost, []);
    t.mock.timers.tick(1);
    assert.deepEqual(lost.splice(0), [[name, "news"]]);
  }
  t.mock.timers.tick(60_000);
  await load("much later");
  location.pathname = "/stock";
  await load("another page");
  assert.deepEqual(lost, [["much later", "news"], ["another page", "news"]]);
});

fact("a loss, or the end of a right, is none of who has asked and has no answer yet", async ({ server, open }) => {
  const heard = [];
  const lineside = open();
  lineside.subscribe("orders", () => {}, { token: "old" });
  const peer = await server.peer();
  await peer.welcomes();
  await peer.isHeard();
  lineside.subscribe("orders", (data) => heard.push(data), { after: "e.50", token: "new" });
  const request = await peer.hears();
  peer.says({ type: "lost", channels: ["orders"], cursor: "e.110" });
  peer.says({ type: "unsubscribed", channel: "orders", code: "expired" });
  peer.says(subscribed(request));
  peer.publishes("orders", 60);
  await peer.isHeard();
  assert.deepEqual([request.after, request.token, heard], ["e.50", "new", [60]]);
});

fact("who is unsubscribed by another listener does not hear what that one hears", async ({ server, open }) => {
  const heard = [];
  const lineside = open();
  lineside.subscribe("news", () => second.unsubscribe());
  const second = lineside.subscribe("news", (data) => heard.push(data));
  const peer = await server.peer();
  await peer.welcomes();
  peer.publishes("news", 101);
  await peer.isHeard();
  assert.deepEqual(heard, []);
});

fact("whoever unsubscribes hears no more, and the last one tells the server", async ({ server, open }) => {
  const heard = [];
  const lineside = open();
  const first = lineside.subscribe("news", (data) => heard.push(["first", data]));
  const second = lineside.subscribe("news", (data) => heard.push(["second", data]));
  const peer = await server.peer();
  await peer.welcomes();
  first.unsubscribe();
  peer.publishes("news", 101);
  await peer.isHeard();
  second.unsubscribe();
  second.unsubscribe();
  assert.deepEqual(await peer.hears(), { type: "unsubscribe", channel: "news" });
  peer.publishes("news", 102);
  await peer.isHeard();
  assert.deepEqual(heard, [["second", 101]]);
  await peer.ends();
  assert.deepEqual((await (await server.peer()).hears()).subscribe, []);
});

fact("what is refused is told, and asked for again with another token", async ({ server, open }) => {
  const lineside = open();
  for (const channel of ["a", "b", "c"]) lineside.subscribe(channel, () => {});
  const peer = await server.peer();
  await peer.welcomes({ refused: [{ channel: "a", code: "forbidden" }], recovered: true, lost: [] });
  peer.says({ type: "caught_up", cursor: "e.110" });
  peer.says({ type: "unsubscribed", channel: "b", code: "expired" });
  lineside.subscribe("d", () => {});
  const { ref } = await peer.hears();
  peer.says({ type: "error", code: "too_many_subscriptions", ref, channel: "d", message: "256" });
  await peer.isHeard();
  assert.deepEqual(
    told(lineside, "refused").map(({ channel, code }) => [channel, code]),
    [["a", "forbidden"], ["b", "expired"], ["d", "too_many_subscriptions"]],
  );
  peer.says({ type: "refreshed", exp: 0, channels: [] });
  const asked = [await peer.hears(), await peer.hears(), await peer.hears()];
  assert.deepEqual(asked.map(({ channel, after }) => [channel, after]), [["a", "e.100"], ["b", "e.100"], ["d", "e.100"]]);
});

for (const code of [4001, 4003, 4099])
  fact(`${code} gets a fresh token before it comes back`, async ({ server, page, open }) => {
    page.tags = { "csrf-token": "csrf" };
    server.answers.push([200, { token: "fresh" }]);
    open({ token: "stale" });
    await (await server.peer()).ends(code);
    assert.equal((await (await server.peer()).hears()).token, "fresh");
    assert.deepEqual(server.requests, [{ method: "POST", url: "/lineside/token", csrf: "csrf" }]);
  });

for (const code of [4100, 4102, 4499, 1001, 1011, undefined])
  fact(`${code ?? "a broken line"} comes back with the same token`, async ({ server, open }) => {
    open({ token: "same" });
    await (await server.peer()).ends(code);
    assert.equal((await (await server.peer()).hears()).token, "same");
    assert.deepEqual(server.requests, []);
  });

for (const code of [4500, 4501, 4999, 1002, 1003, 1007, 1009])
  fact(`${code} stops`, async ({ t, server, open, page }) => {
    const lineside = open();
    const stopped = until(lineside, "status", "stopped");
    const peer = await server.peer();
    await peer.hears();
    t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
    await peer.ends(code);
    assert.deepEqual(await stopped, { status: "stopped", code });
    page.happens("online");
    page.happens("visibilitychange");
    t.mock.timers.tick(120_000);
    assert.equal(lineside.status, "stopped");
    assert.equal(server.unmet, 0);
  });

fact("without a place to get a token, 40xx stops", async ({ server, open }) => {
  const lineside = open({ tokenUrl: undefined });
  const stopped = until(lineside, "status", "stopped");
  await (await server.peer()).ends(4003);
  assert.deepEqual(await stopped, { status: "stopped", code: 4003 });
});

for (const status of [204, 302, 401, 403, 422])
  fact(`a token endpoint that answers ${status} ends it: nobody is signed in`, async ({ server, open }) => {
    server.answers.push([status]);
    const lineside = open();
    const stopped = until(lineside, "status", "stopped");
    await (await server.peer()).ends(4003);
    await stopped;
    assert.equal(server.unmet, 0);
  });

fact("a token endpoint that fails is asked again", async ({ server, open }) => {
  server.answers.push([500], [503], [429], [200, { token: "fresh" }]);
  open();
  await (await server.peer()).ends(4003);
  assert.equal((await (await server.peer()).hears()).token, "fresh");
  assert.equal(server.requests.length, 4);
});

fact("it comes back no sooner than it was told, and spread out", async ({ server, open }) => {
  random = 0.5;
  const lineside = open();
  const waiting = until(lineside, "status", "waiting");
  const peer = await server.peer();
  await peer.welcomes();
  peer.says({ type: "disconnect", code: 4100, reason: "drain", after_ms: 300 });
  await peer.ends(4100);
  const { waitMs, code } = await waiting;
  assert.equal(code, 4100);
  assert.ok(waitMs > 250 && waitMs <= 550, `${waitMs} ms`);
  await server.peer();
});

fact("an after_ms beyond reason is cut", async ({ server, open }) => {
  const lineside = open();
  const waiting = until(lineside, "status", "waiting");
  const peer = await server.peer();
  await peer.welcomes();
  peer.says({ type: "disconnect", code: 4100, after_ms: 86_400_000 });
  await peer.ends(4100);
  assert.ok((await waiting).waitMs <= 60_000);
});

fact("the backoff doubles to its limit, and only a welcome resets it", async ({ t, server, open }) => {
  random = 0.999;
  const lineside = open();
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const waits = [];
  for (let round = 0; round < 8; round++) {
    const peer = await server.peer();
    if (round === 6) await peer.welcomes();
    const waiting = until(lineside, "status", "waiting");
    if (round === 6) await peer.isHeard();
    await peer.ends();
    const { waitMs } = await waiting;
    waits.push(Math.round(waitMs));
    t.mock.timers.tick(Math.ceil(waitMs));
  }
  assert.deepEqual(waits, [500, 999, 1998, 3996, 7992, 14985, 500, 999]);
});

fact("a token is renewed before it ends, on the same connection", async ({ t, server, open }) => {
  const now = Math.floor(Date.now() / 1000);
  const fresh = tokenOf({ sub: "42", iat: now, exp: now + 7200 });
  server.answers.push([200, { token: fresh }], [200, { token: "third" }]);
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: now * 1000 });
  open({ token: tokenOf({ sub: "42", iat: now, exp: now + 3600 }) });
  const peer = await server.peer();
  await peer.welcomes({ user: "42" });
  // The watchdog would end what says nothing for an hour.
  const pass = async (seconds) => {
    for (; seconds > 0; seconds -= 30) {
      t.mock.timers.tick(30_000);
      await peer.isHeard();
    }
  };
  await peer.isHeard();
  await pass(2490);
  assert.equal(server.requests.length, 0);
  t.mock.timers.tick(30_000);
  const { type, token } = await peer.hears();
  assert.deepEqual([type, token], ["refresh", fresh]);
  assert.equal(server.requests.length, 1);
  assert.equal(server.unmet, 0);
});

fact("a token that ended while the page slept is renewed before the connect", async ({ t, server, open }) => {
  const now = Math.floor(Date.now() / 1000);
  server.answers.push([200, { token: "fresh" }]);
  random = 0.5;
  const lineside = open({ token: tokenOf({ iat: now, exp: now + 3600 }) });
  const waiting = until(lineside, "status", "waiting");
  await (await server.peer()).ends();
  await waiting;
  const { now: clock } = Date;
  t.mock.method(Date, "now", () => clock() + 7_200_000);
  const { token } = await (await server.peer()).hears();
  assert.equal(token, "fresh");
});

fact("another user's token makes a new connection, on which their channel is lost", async ({ t, server, open }) => {
  const now = Math.floor(Date.now() / 1000);
  const [ada, grace] = ["1", "2"].map((sub) => tokenOf({ sub, iat: now, exp: now + 20 }));
  server.answers.push([200, { token: grace }]);
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: now * 1000 });
  const heard = [];
  const lineside = open({ token: ada });
  lineside.user((data) => heard.push(data));
  const first = await server.peer();
  await first.welcomes({ user: "1", channels: ["user:1"], recovered: true, lost: [] });
  await first.isHeard();
  t.mock.timers.tick(14_000);
  const second = await server.peer();
  await first.closed;
  const { token, subscribe } = await second.welcomes({ user: "2", recovered: false, lost: ["user:2"] });
  assert.deepEqual([token, subscribe], [grace, [{ channel: "user:2", after: "unknown" }]]);
  second.publishes("user:1", 101);
  second.publishes("user:2", 102);
  await second.isHeard();
  assert.deepEqual(heard, [102]);
  assert.deepEqual(told(lineside, "lost"), [{ channels: ["user:2"] }]);
});

fact("a silent socket is left heartbeat and ten seconds after its last word", async ({ t, server, open }) => {
  const lineside = open();
  const peer = await server.peer();
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  await peer.welcomes({ heartbeat: 5 });
  for (let round = 0; round < 4; round++) {
    await peer.isHeard();
    t.mock.timers.tick(14_999);
  }
  assert.equal(lineside.status, "open");
  random = 0.5;
  t.mock.timers.tick(1);
  assert.equal(lineside.status, "waiting");
  t.mock.timers.tick(250);
  await (await server.peer()).hears();
});

fact("a socket that died in the machine's sleep is left on waking", async ({ t, server, page, open }) => {
  const lineside = open();
  const peer = await server.peer();
  await peer.welcomes();
  await peer.isHeard();
  page.happens("visibilitychange");
  assert.equal(lineside.status, "open");
  // No timer runs in a sleep: only the clock has moved.
  const { now } = Date;
  t.mock.method(Date, "now", () => now() + 36_000);
  page.happens("visibilitychange");
  assert.equal(lineside.status, "waiting");
  await (await server.peer()).hears();
});

fact("who waits comes back at once when the network does", async ({ t, server, page, open }) => {
  random = 0.999;
  const lineside = open();
  const peer = await server.peer();
  await peer.welcomes();
  await peer.isHeard();
  page.happens("offline");
  assert.equal(lineside.status, "waiting");
  random = 0;
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  page.happens("online");
  t.mock.timers.tick(1);
  await (await server.peer()).hears();
});

fact("a page that is kept for going back holds no socket, and asks who it is when shown", async ({ server, page, open }) => {
  server.answers.push([200, { token: "fresh" }]);
  const lineside = open({ token: "old" });
  const peer = await server.peer();
  await peer.welcomes();
  await peer.isHeard("e.120");
  page.happens("pagehide");
  await peer.closed;
  page.happens("visibilitychange");
  page.happens("online");
  assert.equal(lineside.status, "waiting");
  assert.equal(server.unmet, 0);
  page.happens("pageshow");
  const { token, after } = await (await server.peer()).hears();
  assert.deepEqual([token, after], ["fresh", "e.120"]);
});

fact("a Turbo visit's token replaces an older one of the same user", async ({ server, page, open }) => {
  const token = (iat, sub = "1") => tokenOf({ sub, iat, iat_ms: iat * 1000, exp: 4e9 });
  page.tags = { "lineside-token": token(10) };
  const lineside = open();
  const peer = await server.peer();
  await peer.welcomes({ user: "1" });
  await peer.isHeard();
  page.tags = { "lineside-token": token(9) };
  page.happens("turbo:load");
  page.tags = { "lineside-token": token(11) };
  page.happens("turbo:load");
  assert.equal((await peer.hears()).token, token(11));
  server.answers.push([200, { token: token(12, "2") }]);
  page.tags = { "lineside-token": token(12, "2") };
  page.happens("turbo:load");
  assert.equal((await (await server.peer()).hears()).token, token(12, "2"));
  assert.equal(server.requests.length, 1);
  assert.equal(lineside.status, "connecting");
});

fact("a token that comes after close opens nothing", async ({ t, server, open }) => {
  const now = Math.floor(Date.now() / 1000);
  const asked = async (count) => {
    while (server.requests.length < count) await new Promise(setImmediate);
  };
  let answer;
  const slowly = () => server.answers.push(new Promise((resolve) => (answer = resolve)));
  const over = async (lineside) => {
    lineside.close();
    answer([200, { token: tokenOf({ sub: "2", iat: now, exp: now + 20 }) }]);
    // Its answer is read before that of a later request, and its socket would come before a later one.
    await fetch(server.tokenUrl, { method: "POST" });
    open({ token: "later" });
    assert.equal((await (await server.peer()).hears()).token, "later");
    assert.deepEqual([lineside.status, server.unmet], ["closed", 0]);
  };
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: now * 1000 });
  slowly();
  const renewing = open({ token: tokenOf({ sub: "1", iat: now, exp: now + 20 }) });
  const peer = await server.peer();
  await peer.welcomes({ user: "1" });
  await peer.isHeard();
  t.mock.timers.tick(14_000);
  await asked(1);
  await over(renewing);
  slowly();
  const connecting = open({ token: "refused" });
  const waiting = until(connecting, "status", "waiting");
  await (await server.peer()).ends(4003);
  await waiting;
  t.mock.timers.tick(1);
  await asked(3);
  await over(connecting);
});

fact("after close nothing is heard, and nothing comes back", async ({ t, server, page, open }) => {
  const heard = [];
  const lineside = open();
  lineside.subscribe("news", (data) => heard.push(data));
  const peer = await server.peer();
  await peer.welcomes();
  await peer.isHeard();
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  lineside.close();
  peer.publishes("news", 101);
  await peer.closed;
  for (const type of ["pageshow", "online", "visibilitychange", "turbo:load"]) page.happens(type);
  t.mock.timers.tick(120_000);
  assert.deepEqual([lineside.status, heard, server.unmet], ["closed", [], 0]);
});

test("it is one file without imports, of at most 4 KB minified and gzipped", async () => {
  const source = readFileSync(MODULE, "utf8");
  assert.doesNotMatch(source, /^\s*import\b|\bimport\(|\bfrom "|sourceMappingURL/m);
  const { code } = await transform(source, { minify: true, format: "esm" });
  const { length } = gzipSync(code, { level: 9 });
  assert.ok(length <= MINIFIED_BYTES_MAX, `${length} bytes`);
});

test("its types hold what they say, and refuse what they do not", () => {
  const tsc = new URL("node_modules/typescript/bin/tsc", import.meta.url).pathname;
  const options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"];
  const file = new URL("module.types.mts", import.meta.url).pathname;
  try {
    execFileSync(process.execPath, [tsc, ...options, file]);
  } catch ({ stdout }) {
    assert.fail(String(stdout));
  }
});

test("npm and the gem give it one version", () => {
  const [, version] = readFileSync(`${ROOT}lib/lineside/version.rb`, "utf8").match(/VERSION = "(.*)"/);
  assert.equal(JSON.parse(readFileSync(`${ROOT}package.json`, "utf8")).version, version);
});
