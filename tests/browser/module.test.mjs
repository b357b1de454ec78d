// Tests of lineside.js against a scripted server.
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
const MINIFIED_BYTES_MAX = 4608;

// Result of Math.random: zero, for the shortest delays, unless a test sets it.
let random = 0;
Math.random = () => random;

function clientTest(name, body) {
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
    t.after(async () => {
      opened.forEach((lineside) => lineside.close());
      await server.stop();
      page.leave();
    });
    await body({ t, page, server, open });
  });
}

const events = (lineside, type) => lineside.events.filter(([of]) => of === type).map(([, detail]) => detail);

// Resolves with the next event of a type, optionally with a status.
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

clientTest("a system test is told the status of each connection that is not closed", async ({ server, page, open }) => {
  const ask = () => {
    const statuses = [];
    page.window.dispatchEvent(new CustomEvent("lineside:ask", { detail: statuses }));
    return statuses;
  };
  const [first, second] = [open(), open()];
  assert.deepEqual(ask(), ["connecting", "connecting"]);
  const isOpen = until(first, "status", "open");
  await (await server.connection()).welcome();
  await isOpen;
  assert.equal(ask().filter((status) => status === "open").length, 1);
  second.close();
  assert.deepEqual(ask(), ["open"]);
});

clientTest("connect contains token, cursor and channels, and the URL none", async ({ server, open }) => {
  const lineside = open({ token: "secret" });
  lineside.subscribe("news", () => {});
  lineside.subscribe("orders:7", () => {}, { token: "opens-7", after: "e.90" });
  assert.equal(lineside.status, "connecting");
  const connection = await server.connection();
  const isOpen = until(lineside, "status", "open");
  assert.deepEqual(await connection.welcome(), {
    type: "connect",
    token: "secret",
    after: "e.100",
    subscribe: [
      { channel: "news", after: "e.100" },
      { channel: "orders:7", token: "opens-7", after: "e.90" },
    ],
  });
  assert.equal(connection.url, "/lineside");
  assert.equal(connection.protocol, "lineside-v1");
  await isOpen;
  assert.equal(lineside.status, "open");
});

clientTest("missing options are read from the page's tags", async ({ server, page, open }) => {
  page.tags = { "lineside-url": server.url, "lineside-token": "from-page", "lineside-cursor": "e.55" };
  open({ url: undefined, cursor: undefined });
  const { token, after } = await (await server.connection()).welcome();
  assert.deepEqual([token, after], ["from-page", "e.55"]);
});

clientTest("a missing URL throws, and a missing cursor is sent as unknown", async ({ server, open }) => {
  assert.throws(() => open({ url: undefined }), /give connect\(\{ url \}\), or render lineside_meta_tags/);
  open({ cursor: undefined });
  assert.equal((await (await server.connection()).welcome()).after, "unknown");
});

clientTest("a message reaches each listener of its channel and no other", async ({ server, open }) => {
  const received = { news: [], again: [], user: [], other: [] };
  const lineside = open({ token: tokenOf({ sub: "42", iat: 0, exp: 4e9 }) });
  lineside.subscribe("news", (data, { cursor }) => received.news.push([data, cursor]));
  lineside.subscribe("news", (data) => received.again.push(data));
  lineside.subscribe("other", (data) => received.other.push(data));
  lineside.user((data) => received.user.push(data));
  const connection = await server.connection();
  await connection.welcome({ user: "42", channels: ["user:42", "news", "other"] });
  connection.publish("news", 101);
  connection.publish("user:42", 102);
  await connection.flush();
  assert.deepEqual(received, { news: [[101, "e.101"]], again: [101], user: [102], other: [] });
});

clientTest("a listener that throws does not affect other listeners", async ({ t, server, open }) => {
  const faults = t.mock.method(console, "error", () => {});
  const received = [];
  const lineside = open();
  lineside.subscribe("news", () => {
    throw new Error("mine");
  });
  lineside.subscribe("news", (data) => received.push(data));
  const connection = await server.connection();
  await connection.welcome();
  connection.publish("news", 101);
  await connection.flush();
  assert.deepEqual(received, [101]);
  assert.equal(faults.mock.calls[0].arguments[0].message, "mine");
});

clientTest("a message at or before the last position is ignored", async ({ server, open }) => {
  const received = [];
  const lineside = open();
  lineside.subscribe("news", (data) => received.push(data));
  const connection = await server.connection();
  await connection.welcome({ recovered: true, lost: [] });
  connection.publish("news", 99, 100, 101, 101, 90, 102);
  await connection.flush();
  assert.deepEqual(received, [101, 102]);
});

for (const [last, say] of Object.entries({
  welcome: () => {},
  message: (connection) => connection.publish("elsewhere", 140),
  ping: (connection) => connection.send({ type: "ping", cursor: "e.140" }),
  caught_up: (connection) => connection.send({ type: "caught_up", cursor: "e.140" }),
}))
  clientTest(`a reconnect resumes after the newest ${last}`, async ({ server, open }) => {
    const lineside = open({ token: "same" });
    lineside.subscribe("news", () => {});
    const connection = await server.connection();
    await connection.welcome({ cursor: "e.120", recovered: true, lost: [] });
    connection.send({ type: "caught_up", cursor: "e.120" });
    say(connection);
    await connection.flush();
    await connection.end();
    const { after, token, subscribe } = await (await server.connection()).receive();
    const cursor = last === "welcome" ? "e.120" : "e.140";
    assert.deepEqual([after, token, subscribe], [cursor, "same", [{ channel: "news", after: cursor }]]);
  });

clientTest("the cursor never decreases", async ({ server, open }) => {
  open();
  const connection = await server.connection();
  await connection.welcome({ cursor: "e.60", recovered: true, lost: [] });
  await connection.flush("e.20");
  await connection.end();
  assert.equal((await (await server.connection()).receive()).after, "e.100");
});

clientTest("a channel has its own cursor until caught_up", async ({ server, open }) => {
  const received = [];
  const lineside = open();
  let connection = await server.connection();
  await connection.welcome();
  lineside.subscribe("orders", (data) => received.push(data), { after: "e.50" });
  const request = await connection.receive();
  assert.deepEqual(request, { type: "subscribe", channel: "orders", after: "e.50", ref: request.ref });
  connection.send(subscribed(request));
  connection.publish("orders", 60, 120);
  await connection.flush();
  await connection.end();

  connection = await server.connection();
  const connect = await connection.welcome({ cursor: "e.100", recovered: true, lost: [] });
  assert.deepEqual([connect.after, connect.subscribe], ["e.100", [{ channel: "orders", after: "e.120" }]]);
  connection.publish("orders", 130);
  await connection.flush();
  await connection.end();

  connection = await server.connection();
  const again = await connection.welcome({ cursor: "e.100", recovered: true, lost: [] });
  assert.deepEqual([again.after, again.subscribe], ["e.100", [{ channel: "orders", after: "e.130" }]]);
  connection.send({ type: "caught_up", cursor: "e.150" });
  await connection.flush();
  await connection.end();

  const last = await (await server.connection()).receive();
  assert.deepEqual([last.after, last.subscribe], ["e.150", [{ channel: "orders", after: "e.150" }]]);
  assert.deepEqual(received, [60, 120, 130]);
});

clientTest("only a listener with an older cursor receives the replay", async ({ server, open }) => {
  const [first, second] = [[], []];
  const lineside = open();
  lineside.subscribe("orders", (data) => first.push(data));
  const connection = await server.connection();
  await connection.welcome();
  connection.publish("orders", 101);
  await connection.flush();
  lineside.subscribe("orders", (data) => second.push(data), { after: "e.50" });
  const request = await connection.receive();
  // Sent before the server received the request: the second listener ignores it and gets it in the replay.
  connection.publish("orders", 102);
  connection.send(subscribed(request));
  connection.publish("orders", 60, 101, 102);
  connection.send({ type: "caught_up", channel: "orders", cursor: "e.102" });
  connection.publish("orders", 103);
  await connection.flush();
  assert.deepEqual([first, second], [[101, 102, 103], [60, 101, 102, 103]]);
});

clientTest("two replays of one channel end separately", async ({ server, open }) => {
  const [first, second] = [[], []];
  const lineside = open();
  const connection = await server.connection();
  await connection.welcome();
  lineside.subscribe("orders", (data) => first.push(data), { after: "e.50" });
  const one = await connection.receive();
  lineside.subscribe("orders", (data) => second.push(data), { after: "e.40" });
  const other = await connection.receive();
  connection.send(subscribed(one));
  connection.publish("orders", 60);
  connection.send({ type: "caught_up", channel: "orders", cursor: "e.100" }, subscribed(other));
  connection.publish("orders", 45);
  await connection.flush();
  await connection.end();
  const connect = await (await server.connection()).receive();
  assert.deepEqual([connect.after, connect.subscribe], ["e.100", [{ channel: "orders", after: "e.45" }]]);
  assert.deepEqual([first, second], [[60], [45]]);
});

clientTest("the end of the connect's replay does not end that of a later subscribe", async ({ server, open }) => {
  const lineside = open();
  lineside.subscribe("news", () => {});
  const connection = await server.connection();
  await connection.welcome({ cursor: "e.200", recovered: true, lost: [] });
  lineside.subscribe("orders", () => {}, { after: "e.50" });
  connection.send(subscribed(await connection.receive()));
  connection.publish("orders", 60);
  connection.send({ type: "caught_up", cursor: "e.200" });
  await connection.flush();
  await connection.end();
  const { after, subscribe } = await (await server.connection()).receive();
  assert.deepEqual([after, subscribe], ["e.200", [{ channel: "news", after: "e.200" }, { channel: "orders", after: "e.60" }]]);
});

clientTest("listeners added together share one request with the lowest cursor", async ({ server, open }) => {
  const lineside = open();
  const connection = await server.connection();
  await connection.welcome();
  lineside.subscribe("orders", () => {}, { after: "e.70" });
  lineside.subscribe("orders", () => {}, { after: "e.60" });
  lineside.subscribe("orders", () => {}, { after: "e.80", token: "opens" });
  const { channel, after, token } = await connection.receive();
  assert.deepEqual([channel, after, token], ["orders", "e.60", "opens"]);
  await connection.flush();
  assert.equal(connection.unreadCount, 0);
});

clientTest("a listener that needs no replay sends no request", async ({ server, open }) => {
  const received = [];
  const lineside = open();
  lineside.subscribe("orders", () => {});
  const connection = await server.connection();
  await connection.welcome();
  await connection.flush("e.130");
  lineside.subscribe("orders", (data) => received.push(data), { after: null });
  connection.publish("orders", 131);
  connection.send({ type: "ping", cursor: "e.131" });
  assert.equal((await connection.receive()).type, "pong");
  assert.deepEqual(received, [131]);
});

clientTest("a later listener starts at the page's current cursor", async ({ server, page, open }) => {
  page.tags = { "lineside-cursor": "e.100" };
  const lineside = open({ cursor: undefined });
  const connection = await server.connection();
  await connection.welcome();
  await connection.flush("e.200");
  page.tags["lineside-cursor"] = "e.180";
  lineside.subscribe("board", () => {});
  assert.equal((await connection.receive()).after, "e.180");
});

clientTest("channels beyond the limit of connect are subscribed after it", async ({ server, open }) => {
  const lineside = open();
  for (let number = 0; number < 130; number++) lineside.subscribe(`n:${number}`, () => {});
  const connection = await server.connection();
  const { subscribe } = await connection.welcome();
  assert.equal(subscribe.length, 128);
  const rest = [await connection.receive(), await connection.receive()];
  assert.deepEqual(rest.map(({ type, channel, after }) => [type, channel, after]), [
    ["subscribe", "n:128", "e.100"],
    ["subscribe", "n:129", "e.100"],
  ]);
});

clientTest("channels subscribed after connect resume at the connection's cursor", async ({ server, open }) => {
  const lineside = open();
  for (let number = 0; number < 129; number++) lineside.subscribe(`c:${number}`, () => {});
  const first = await server.connection();
  await first.welcome({ recovered: true, lost: [] });
  const last = await first.receive();
  first.send(subscribed(last), { type: "caught_up", channel: last.channel, cursor: "e.100" });
  await first.flush("e.150");
  await first.end();
  const second = await server.connection();
  assert.equal((await second.welcome({ cursor: "e.150" })).after, "e.150");
  const { channel, after } = await second.receive();
  assert.deepEqual([channel, after], ["c:128", "e.150"]);
});

clientTest("a page without a cursor resumes at the welcome's cursor", async ({ server, open }) => {
  open({ cursor: "unknown" });
  const connection = await server.connection();
  assert.equal((await connection.welcome({ cursor: "e.120" })).after, "unknown");
  await connection.flush();
  await connection.end();
  assert.equal((await (await server.connection()).receive()).after, "e.120");
});

clientTest("a new epoch emits lost and accepts lower positions", async ({ server, open }) => {
  const received = [];
  const lineside = open();
  lineside.subscribe("news", (data) => received.push(data));
  let connection = await server.connection();
  await connection.welcome({ recovered: true, lost: [] });
  await connection.end();
  connection = await server.connection();
  await connection.welcome({ cursor: "f.2", channels: ["news", "unheard"], recovered: false, lost: ["news", "unheard"] });
  connection.send({ type: "message", channel: "news", cursor: "f.2", data: "old" });
  connection.send({ type: "message", channel: "news", cursor: "f.3", data: "new" });
  await connection.flush("f.3");
  assert.deepEqual(events(lineside, "lost"), [{ channels: ["news"] }]);
  assert.deepEqual(received, ["new"]);
  await connection.end();
  assert.equal((await (await server.connection()).receive()).after, "f.3");
});

clientTest("a subscription that cannot resume emits lost and receives messages", async ({ server, open }) => {
  const received = [];
  const lineside = open();
  const connection = await server.connection();
  await connection.welcome();
  lineside.subscribe("orders", (data) => received.push(data), { after: "gone.1" });
  connection.send(subscribed(await connection.receive(), false, "e.110"));
  connection.publish("orders", 111);
  await connection.flush();
  assert.deepEqual(events(lineside, "lost"), [{ channels: ["orders"] }]);
  assert.deepEqual(received, [111]);
});

clientTest("an unsolicited lost is emitted after its after_ms", async ({ t, server, open }) => {
  const lineside = open();
  lineside.subscribe("news", () => {});
  const connection = await server.connection();
  await connection.welcome();
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  connection.send({ type: "lost", channels: ["news"], cursor: "e.150", after_ms: 800 });
  await connection.flush();
  t.mock.timers.tick(799);
  assert.deepEqual(events(lineside, "lost"), []);
  t.mock.timers.tick(1);
  assert.deepEqual(events(lineside, "lost"), [{ channels: ["news"] }]);
});

clientTest("repeated lost of one page is delayed longer each time", async ({ t, server }) => {
  Object.assign(globalThis, { sessionStorage: {}, location: new URL("http://shop.example/orders") });
  t.after(() => ["sessionStorage", "location"].forEach((name) => delete globalThis[name]));
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.now() });
  const lost = [];
  let lineside;
  t.after(() => lineside.close());
  const load = async (name) => {
    lineside?.close();
    // A new query loads a new instance of the module, as a page load does.
    const { connect } = await import(`${MODULE}?load=${name}`);
    lineside = connect({ url: server.url, token: "t", cursor: "unknown" });
    lineside.addEventListener("lost", ({ detail }) => lost.push([name, ...detail.channels]));
    lineside.subscribe("news", () => {});
    const connection = await server.connection();
    const isOpen = until(lineside, "status", "open");
    await connection.welcome({ recovered: false, lost: ["news"] });
    await isOpen;
    return connection;
  };
  const connection = await load("first");
  connection.send({ type: "lost", channels: ["news"], cursor: "e.150" });
  await connection.flush();
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

clientTest("repeated lost of Turbo visits is delayed longer each time", async ({ t, server, page, open }) => {
  page.makeReloadable();
  const lineside = open({ cursor: "unknown" });
  const connection = await server.connection();
  await connection.welcome();
  await connection.flush();
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.now() });
  for (const [visit, waitMs] of [0, 1_000, 2_000].entries()) {
    page.dispatch("turbo:load");
    const { unsubscribe } = lineside.subscribe("orders", () => {});
    connection.send(subscribed(await connection.receive(), false, "e.110"));
    await connection.flush();
    if (waitMs > 0) {
      assert.equal(events(lineside, "lost").length, visit);
      t.mock.timers.tick(waitMs);
    }
    assert.equal(events(lineside, "lost").length, visit + 1);
    unsubscribe();
    await connection.receive();
    t.mock.timers.tick(1);
  }
});

clientTest("lost and unsubscribed do not affect a listener with a pending request", async ({ server, open }) => {
  const received = [];
  const lineside = open();
  lineside.subscribe("orders", () => {}, { token: "old" });
  const connection = await server.connection();
  await connection.welcome();
  await connection.flush();
  lineside.subscribe("orders", (data) => received.push(data), { after: "e.50", token: "new" });
  const request = await connection.receive();
  connection.send({ type: "lost", channels: ["orders"], cursor: "e.110" });
  connection.send({ type: "unsubscribed", channel: "orders", code: "expired" });
  connection.send(subscribed(request));
  connection.publish("orders", 60);
  await connection.flush();
  assert.deepEqual([request.after, request.token, received], ["e.50", "new", [60]]);
});

clientTest("a listener removed by another one does not receive that message", async ({ server, open }) => {
  const received = [];
  const lineside = open();
  lineside.subscribe("news", () => second.unsubscribe());
  const second = lineside.subscribe("news", (data) => received.push(data));
  const connection = await server.connection();
  await connection.welcome();
  connection.publish("news", 101);
  await connection.flush();
  assert.deepEqual(received, []);
});

clientTest("unsubscribe ends delivery, and the last one informs the server", async ({ server, open }) => {
  const received = [];
  const lineside = open();
  const first = lineside.subscribe("news", (data) => received.push(["first", data]));
  const second = lineside.subscribe("news", (data) => received.push(["second", data]));
  const connection = await server.connection();
  await connection.welcome();
  first.unsubscribe();
  connection.publish("news", 101);
  await connection.flush();
  second.unsubscribe();
  second.unsubscribe();
  assert.deepEqual(await connection.receive(), { type: "unsubscribe", channel: "news" });
  connection.publish("news", 102);
  await connection.flush();
  assert.deepEqual(received, [["second", 101]]);
  await connection.end();
  assert.deepEqual((await (await server.connection()).receive()).subscribe, []);
});

clientTest("refused channels are reported, and requested again after a refresh", async ({ server, open }) => {
  const lineside = open();
  for (const channel of ["a", "b", "c"]) lineside.subscribe(channel, () => {});
  const connection = await server.connection();
  await connection.welcome({ refused: [{ channel: "a", code: "forbidden" }], recovered: true, lost: [] });
  connection.send({ type: "caught_up", cursor: "e.110" });
  connection.send({ type: "unsubscribed", channel: "b", code: "expired" });
  lineside.subscribe("d", () => {});
  const { ref } = await connection.receive();
  connection.send({ type: "error", code: "too_many_subscriptions", ref, channel: "d", message: "256" });
  await connection.flush();
  assert.deepEqual(
    events(lineside, "refused").map(({ channel, code }) => [channel, code]),
    [["a", "forbidden"], ["b", "expired"], ["d", "too_many_subscriptions"]],
  );
  connection.send({ type: "refreshed", exp: 0, channels: [] });
  const asked = [await connection.receive(), await connection.receive(), await connection.receive()];
  assert.deepEqual(asked.map(({ channel, after }) => [channel, after]), [["a", "e.100"], ["b", "e.100"], ["d", "e.100"]]);
});

for (const code of [4001, 4003, 4099])
  clientTest(`close code ${code} fetches a fresh token and reconnects`, async ({ server, page, open }) => {
    page.tags = { "csrf-token": "csrf" };
    server.answers.push([200, { token: "fresh" }]);
    open({ token: "stale" });
    await (await server.connection()).end(code);
    assert.equal((await (await server.connection()).receive()).token, "fresh");
    assert.deepEqual(server.requests, [{ method: "POST", url: "/lineside/token", csrf: "csrf" }]);
  });

for (const code of [4100, 4102, 4499, 1001, 1011, undefined])
  clientTest(`close code ${code ?? "(none)"} reconnects with the same token`, async ({ server, open }) => {
    open({ token: "same" });
    await (await server.connection()).end(code);
    assert.equal((await (await server.connection()).receive()).token, "same");
    assert.deepEqual(server.requests, []);
  });

for (const code of [4500, 4501, 4999, 1002, 1003, 1007, 1009])
  clientTest(`close code ${code} stops`, async ({ t, server, open, page }) => {
    const lineside = open();
    const stopped = until(lineside, "status", "stopped");
    const connection = await server.connection();
    await connection.receive();
    t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
    await connection.end(code);
    assert.deepEqual(await stopped, { status: "stopped", code });
    page.dispatch("online");
    page.dispatch("visibilitychange");
    t.mock.timers.tick(120_000);
    assert.equal(lineside.status, "stopped");
    assert.equal(server.unusedCount, 0);
  });

for (const [type, event, send] of [
  ["connecting", "status", (connection) => connection.end()],
  ["refused", "refused", (connection) => connection.welcome({ refused: [{ channel: "news", code: "forbidden" }] })],
])
  clientTest(`close in a listener of ${type} is final`, async ({ t, server, open }) => {
    t.mock.method(console, "warn", () => {});
    const lineside = open();
    lineside.subscribe("news", () => {});
    const closed = new Promise((resolve) =>
      lineside.addEventListener(event, ({ detail: { status } }) => {
        if (!status || status === type) resolve(lineside.close());
      }),
    );
    await send(await server.connection());
    await closed;
    open({ token: "later" });
    assert.equal((await (await server.connection()).receive()).token, "later");
    assert.deepEqual([lineside.status, events(lineside, "status").at(-1).status], ["closed", "closed"]);
    assert.equal(server.unusedCount, 0);
  });

clientTest("a clock set back by hours does not lengthen the wait", async ({ t, server, open }) => {
  const lineside = open();
  const connection = await server.connection();
  await connection.welcome();
  connection.send({ type: "disconnect", code: 4100, reason: "drain", after_ms: 1 });
  await connection.flush();
  const { now } = Date;
  t.mock.method(Date, "now", () => now() - 7_200_000);
  const waiting = until(lineside, "status", "waiting");
  await connection.end(4100);
  assert.ok((await waiting).waitMs <= 60_000);
});

clientTest("a subscription without a channel's name only warns", async ({ t, server, open }) => {
  const warn = t.mock.method(console, "warn", () => {});
  const received = [];
  const lineside = open({ token: tokenOf({ sub: "42", iat: 0, exp: 4e9 }) });
  for (const channel of [undefined, null, 42, ""])
    lineside.subscribe(channel, (data) => received.push(data)).unsubscribe();
  lineside.subscribe(undefined, (data) => received.push(data));
  assert.equal(warn.mock.callCount(), 5);
  assert.match(warn.mock.calls[0].arguments[0], /^lineside: subscribe\(undefined\) has no channel: give its full name/);
  const connection = await server.connection();
  assert.deepEqual((await connection.welcome({ user: "42" })).subscribe, []);
  connection.publish("user:42", 101);
  await connection.flush();
  assert.deepEqual(received, []);
});

clientTest("fresh tokens that are refused are named in the console, once", async ({ t, server, open }) => {
  const warn = t.mock.method(console, "warn", () => {});
  open({ token: "old" });
  for (let round = 0; round < 4; round++) {
    server.answers.push([200, { token: "fresh" }]);
    await (await server.connection()).end(4001);
    assert.equal(warn.mock.callCount(), Math.min(round, 1));
  }
  await server.connection();
  assert.equal(warn.mock.calls[0].arguments[0], "lineside: a fresh token is refused with code 4001 (docs/codes.md): run lineside check");
});

clientTest("close code 40xx without a token URL stops", async ({ server, open }) => {
  const lineside = open({ tokenUrl: undefined });
  const stopped = until(lineside, "status", "stopped");
  await (await server.connection()).end(4003);
  assert.deepEqual(await stopped, { status: "stopped", code: 4003 });
});

for (const status of [204, 302, 401, 403, 422])
  clientTest(`status ${status} of the token endpoint stops`, async ({ server, open }) => {
    server.answers.push([status]);
    const lineside = open();
    const stopped = until(lineside, "status", "stopped");
    await (await server.connection()).end(4003);
    await stopped;
    assert.equal(server.unusedCount, 0);
  });

const stopped = (lineside) => until(lineside, "status", "stopped");

clientTest("a page whose user has signed out is reloaded once", async ({ t, server, page, open }) => {
  const warnings = t.mock.method(console, "warn", () => {});
  page.makeReloadable();
  const load = async (token, status) => {
    page.tags = { "lineside-token": token };
    server.answers.push(status);
    const lineside = open({ cursor: undefined });
    await (await server.connection()).end(4002);
    await stopped(lineside);
    assert.equal(server.unusedCount, 0);
    return page.reloadCount;
  };
  const first = tokenOf({ sub: "1", iat: 1, exp: 4e9 });
  assert.equal(await load(`${first}-first`, [401]), 1);
  assert.equal(await load(`${first}-second`, [401]), 2);
  assert.equal(warnings.mock.callCount(), 0);
  // A cache returns the page again.
  assert.equal(await load(`${first}-second`, [401]), 2);
  assert.match(warnings.mock.calls[0].arguments[0], /a reload returned the same page/);
});

clientTest("a page is reloaded when another user has signed in", async ({ server, page, open }) => {
  page.makeReloadable();
  const [ada, grace] = ["1", "2"].map((sub) => tokenOf({ sub, iat: 1, exp: 4e9 }));
  page.tags = { "lineside-token": ada };
  server.answers.push([200, { token: grace }]);
  const lineside = open({ cursor: undefined });
  await (await server.connection()).end(4002);
  await stopped(lineside);
  assert.deepEqual([page.reloadCount, server.unusedCount], [1, 0]);
});

clientTest("a listener of status can prevent the reload", async ({ server, page, open }) => {
  page.makeReloadable();
  server.answers.push([401]);
  const lineside = open();
  lineside.addEventListener("status", (event) => event.preventDefault());
  await (await server.connection()).end(4002);
  await stopped(lineside);
  assert.equal(page.reloadCount, 0);
});

clientTest("reload loads a page again once for its cursor", async ({ t, page, open }) => {
  t.mock.method(console, "warn", () => {});
  page.makeReloadable();
  page.tags = { "lineside-cursor": "e.5" };
  const lineside = open({ cursor: undefined });
  for (const [cursor, path, count] of [
    ["e.5", "/orders", 1], ["e.5", "/orders", 1], ["e.5", "/stock", 2], ["e.6", "/orders", 3], ["unknown", "/orders", 4],
    ["unknown", "/orders", 4],
  ]) {
    page.tags["lineside-cursor"] = cursor;
    location.pathname = path;
    lineside.reload();
    assert.deepEqual([cursor, path, page.reloadCount], [cursor, path, count]);
  }
  delete globalThis.sessionStorage;
  lineside.reload();
  assert.equal(page.reloadCount, 4);
});

clientTest("after a visit to a page without tags, the token is renewed as before", async ({ server, page, open }) => {
  page.makeReloadable();
  const token = tokenOf({ sub: "1", iat: 1, exp: 4e9 });
  page.tags = { "lineside-token": token, "lineside-token-url": server.tokenUrl, "lineside-permit": "p" };
  const lineside = open({ cursor: undefined, tokenUrl: undefined });
  const first = await server.connection();
  page.tags = {};
  page.dispatch("turbo:load");
  server.answers.push([200, { token: tokenOf({ sub: "1", iat: 2, exp: 4e9 }) }], [401]);
  await first.end(4003);
  await (await server.connection()).end(4002);
  await stopped(lineside);
  assert.deepEqual(server.requests.map(({ url, form }) => [url, form.get("lineside_permit")]), [
    ["/lineside/token", "p"],
    ["/lineside/token", "p"],
  ]);
  // The page without tags shows nothing of the user who has signed out, but can hold a form.
  assert.equal(page.reloadCount, 0);
});

clientTest("pages that stop at once on each load are reloaded ever later", async ({ t, server, page }) => {
  page.makeReloadable();
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: Date.now() });
  for (const [load, waitMs] of [0, 1_000, 2_000].entries()) {
    const { connect } = await import(`${MODULE}?stop=${load}`);
    const token = `${tokenOf({ sub: "1", iat: 1, exp: 4e9 })}-${load}`;
    page.tags = { "lineside-token": token };
    const lineside = connect({ url: server.url, tokenUrl: server.tokenUrl });
    server.answers.push([401]);
    const waiting = until(lineside, "status", "waiting");
    await (await server.connection()).end(4001);
    await waiting;
    const end = stopped(lineside);
    t.mock.timers.tick(1);
    await end;
    if (waitMs > 0) t.mock.timers.tick(waitMs - 1);
    assert.equal(page.reloadCount, waitMs > 0 ? load : 1);
    t.mock.timers.tick(1);
    assert.equal(page.reloadCount, load + 1);
  }
});

clientTest("a page's permit is sent in the body, and to its own token URL only", async ({ server, page, open }) => {
  server.answers.push([200, { token: "a" }], [200, { token: "b" }]);
  page.tags = { "lineside-token-url": server.tokenUrl, "lineside-permit": "p+/=" };
  for (const tokenUrl of [undefined, server.tokenUrl]) {
    open({ token: "old", tokenUrl });
    await (await server.connection()).end(4003);
    await server.connection();
  }
  assert.deepEqual(server.requests.map(({ url, form }) => [url, form?.get("lineside_permit")]), [
    ["/lineside/token", "p+/="],
    ["/lineside/token", undefined],
  ]);
});

clientTest("the console names what went wrong, with the remedy", async ({ t, server, open }) => {
  const warn = t.mock.method(console, "warn", () => {});
  const warnings = () => {
    const texts = warn.mock.calls.map((call) => call.arguments[0]);
    warn.mock.resetCalls();
    return texts;
  };
  const lineside = open({ token: "same" });
  lineside.subscribe("orders");
  assert.match(warnings().join(), /^lineside: subscribe\("orders"\) has no function/);
  const connection = await server.connection();
  await connection.welcome({ refused: [{ channel: "orders", code: "forbidden" }] });
  await connection.flush();
  assert.deepEqual(warnings(), ['lineside: "orders" is refused (forbidden); add it to lineside_meta_tags channels:']);
  lineside.addEventListener("refused", (event) => event.preventDefault());
  lineside.subscribe("stock", () => {});
  const { ref } = await connection.receive();
  connection.send({ type: "error", code: "forbidden", ref, channel: "stock" });
  await connection.flush();
  assert.deepEqual(events(lineside, "refused").map(({ channel }) => channel), ["orders", "stock"]);
  connection.end(4500);
  await stopped(lineside);
  assert.deepEqual(warnings(), ["lineside: stopped with code 4500 (docs/codes.md)"]);
});

clientTest("the console names a connection that never opened, once", async ({ t, open }) => {
  const warn = t.mock.method(console, "warn", () => {});
  const lineside = open({ url: "ws://127.0.0.1:1/lineside" });
  for (let round = 0; round < 2; round++) await until(lineside, "status", "waiting");
  assert.deepEqual(warn.mock.calls.map((call) => call.arguments[0]), [
    "lineside: cannot connect to ws://127.0.0.1:1/lineside: open http://127.0.0.1:1/lineside or the app's log for the reason",
  ]);
});

clientTest("a WebSocket that the browser forbids stops, with the remedy", async ({ t, server, open }) => {
  const warn = t.mock.method(console, "warn", () => {});
  t.mock.method(globalThis, "WebSocket", function () {
    throw new Error("An insecure WebSocket connection may not be initiated from a page loaded over HTTPS.");
  });
  const lineside = open();
  assert.deepEqual([lineside.status, server.unusedCount], ["stopped", 0]);
  assert.match(warn.mock.calls[0].arguments[0], /insecure WebSocket.*needs wss:\/\/: set config\.lineside\.url/);
});

clientTest("the user of a Turbo visit's page starts at that page's cursor", async ({ server, page, open }) => {
  const token = (iat, sub) => tokenOf({ sub, iat, iat_ms: iat * 1000, exp: 4e9 });
  page.tags = { "lineside-token": token(10), "lineside-cursor": "e.100" };
  const received = [];
  const lineside = open({ cursor: undefined });
  lineside.user((data) => received.push(data));
  const first = await server.connection();
  await first.welcome();
  await first.flush("e.150");
  page.tags = { "lineside-token": token(11, "1"), "lineside-cursor": "e.140" };
  server.answers.push([200, { token: token(12, "1") }]);
  page.dispatch("turbo:load");
  const second = await server.connection();
  const { subscribe } = await second.welcome({ user: "1", recovered: true, lost: [] });
  assert.deepEqual(subscribe, [{ channel: "user:1", after: "e.140" }]);
  second.publish("user:1", 145);
  await second.flush();
  assert.deepEqual([received, events(lineside, "lost")], [[145], []]);
});

clientTest("a failed request for a token is retried", async ({ server, open }) => {
  server.answers.push([500], [503], [429], [200, { token: "fresh" }]);
  open();
  await (await server.connection()).end(4003);
  assert.equal((await (await server.connection()).receive()).token, "fresh");
  assert.equal(server.requests.length, 4);
});

clientTest("a reconnect waits for after_ms plus a random delay", async ({ server, open }) => {
  random = 0.5;
  const lineside = open();
  const waiting = until(lineside, "status", "waiting");
  const connection = await server.connection();
  await connection.welcome();
  connection.send({ type: "disconnect", code: 4100, reason: "drain", after_ms: 300 });
  await connection.end(4100);
  const { waitMs, code } = await waiting;
  assert.equal(code, 4100);
  assert.ok(waitMs > 250 && waitMs <= 550, `${waitMs} ms`);
  await server.connection();
});

clientTest("after_ms has a maximum", async ({ server, open }) => {
  const lineside = open();
  const waiting = until(lineside, "status", "waiting");
  const connection = await server.connection();
  await connection.welcome();
  connection.send({ type: "disconnect", code: 4100, after_ms: 86_400_000 });
  await connection.end(4100);
  assert.ok((await waiting).waitMs <= 60_000);
});

clientTest("the back-off doubles to its maximum, also after short connections", async ({ t, server, open }) => {
  random = 0.999;
  const lineside = open();
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const waits = [];
  for (let round = 0; round < 8; round++) {
    const connection = await server.connection();
    if (round === 6) await connection.welcome();
    const waiting = until(lineside, "status", "waiting");
    if (round === 6) await connection.flush();
    await connection.end();
    const { waitMs } = await waiting;
    waits.push(Math.round(waitMs));
    t.mock.timers.tick(Math.ceil(waitMs));
  }
  assert.deepEqual(waits, [500, 999, 1998, 3996, 7992, 14985, 14985, 14985]);
});

clientTest("pages whose lasting connections break at once return over seconds", async ({ t, server, open }) => {
  random = 0.999;
  const lineside = open();
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const waits = [];
  for (const openMs of [10_000, 9_999, 60_000]) {
    const connection = await server.connection();
    await connection.welcome();
    await connection.flush();
    for (let ms = openMs; ms > 0; ms -= 20_000) {
      t.mock.timers.tick(Math.min(ms, 20_000));
      await connection.flush();
    }
    const waiting = until(lineside, "status", "waiting");
    await connection.end();
    const { waitMs } = await waiting;
    waits.push(Math.round(waitMs));
    t.mock.timers.tick(Math.ceil(waitMs));
  }
  assert.deepEqual(waits, [2997, 999, 2997]);
});

clientTest("a token is renewed before it expires, on the same connection", async ({ t, server, open }) => {
  const now = Math.floor(Date.now() / 1000);
  const fresh = tokenOf({ sub: "42", iat: now, exp: now + 7200 });
  server.answers.push([200, { token: fresh }], [200, { token: "third" }]);
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: now * 1000 });
  open({ token: tokenOf({ sub: "42", iat: now, exp: now + 3600 }) });
  const connection = await server.connection();
  await connection.welcome({ user: "42" });
  // Sends pings, so that the watchdog does not close the connection.
  const pass = async (seconds) => {
    for (; seconds > 0; seconds -= 30) {
      t.mock.timers.tick(30_000);
      await connection.flush();
    }
  };
  await connection.flush();
  await pass(2490);
  assert.equal(server.requests.length, 0);
  t.mock.timers.tick(30_000);
  const { type, token } = await connection.receive();
  assert.deepEqual([type, token], ["refresh", fresh]);
  assert.equal(server.requests.length, 1);
  assert.equal(server.unusedCount, 0);
});

clientTest("a token that expired during sleep is renewed before the reconnect", async ({ t, server, open }) => {
  const now = Math.floor(Date.now() / 1000);
  server.answers.push([200, { token: "fresh" }]);
  random = 0.5;
  const lineside = open({ token: tokenOf({ iat: now, exp: now + 3600 }) });
  const waiting = until(lineside, "status", "waiting");
  await (await server.connection()).end();
  await waiting;
  const { now: clock } = Date;
  t.mock.method(Date, "now", () => clock() + 7_200_000);
  const { token } = await (await server.connection()).receive();
  assert.equal(token, "fresh");
});

clientTest("a token of another user reconnects, and emits lost for their channel", async ({ t, server, open }) => {
  const now = Math.floor(Date.now() / 1000);
  const [ada, grace] = ["1", "2"].map((sub) => tokenOf({ sub, iat: now, exp: now + 20 }));
  server.answers.push([200, { token: grace }]);
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: now * 1000 });
  const received = [];
  const lineside = open({ token: ada });
  lineside.user((data) => received.push(data));
  const first = await server.connection();
  await first.welcome({ user: "1", channels: ["user:1"], recovered: true, lost: [] });
  await first.flush();
  t.mock.timers.tick(14_000);
  const second = await server.connection();
  await first.closed;
  const { token, subscribe } = await second.welcome({ user: "2", recovered: false, lost: ["user:2"] });
  assert.deepEqual([token, subscribe], [grace, [{ channel: "user:2", after: "unknown" }]]);
  second.publish("user:1", 101);
  second.publish("user:2", 102);
  await second.flush();
  assert.deepEqual(received, [102]);
  assert.deepEqual(events(lineside, "lost"), [{ channels: ["user:2"] }]);
});

clientTest("a socket silent for heartbeat plus 10 s is abandoned", async ({ t, server, open }) => {
  const lineside = open();
  const connection = await server.connection();
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  await connection.welcome({ heartbeat: 5 });
  for (let round = 0; round < 4; round++) {
    await connection.flush();
    t.mock.timers.tick(14_999);
  }
  assert.equal(lineside.status, "open");
  random = 0.5;
  t.mock.timers.tick(1);
  assert.equal(lineside.status, "waiting");
  t.mock.timers.tick(1_500);
  await (await server.connection()).receive();
});

clientTest("a socket silent during the machine's sleep is abandoned on waking", async ({ t, server, page, open }) => {
  const lineside = open();
  const connection = await server.connection();
  await connection.welcome();
  await connection.flush();
  page.dispatch("visibilitychange");
  assert.equal(lineside.status, "open");
  // During sleep no timer runs, but the clock advances.
  const { now } = Date;
  t.mock.method(Date, "now", () => now() + 36_000);
  random = 0.999;
  const waiting = until(lineside, "status", "waiting");
  page.dispatch("visibilitychange");
  assert.ok((await waiting).waitMs <= 500);
  await (await server.connection()).receive();
});

clientTest("a waiting page reconnects at once when the network is back", async ({ t, server, page, open }) => {
  random = 0.999;
  const lineside = open();
  const connection = await server.connection();
  await connection.welcome();
  await connection.flush();
  page.dispatch("offline");
  assert.equal(lineside.status, "waiting");
  random = 0;
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  page.dispatch("online");
  t.mock.timers.tick(1);
  await (await server.connection()).receive();
});

clientTest("a page in the back/forward cache has no socket, and then a fresh token", async ({ server, page, open }) => {
  server.answers.push([200, { token: "fresh" }]);
  const lineside = open({ token: "old" });
  const connection = await server.connection();
  await connection.welcome();
  await connection.flush("e.120");
  page.dispatch("pagehide");
  await connection.closed;
  page.dispatch("visibilitychange");
  page.dispatch("online");
  assert.equal(lineside.status, "waiting");
  assert.equal(server.unusedCount, 0);
  page.dispatch("pageshow");
  const { token, after } = await (await server.connection()).receive();
  assert.deepEqual([token, after], ["fresh", "e.120"]);
});

clientTest("the token of a Turbo visit replaces an older one of the same user", async ({ server, page, open }) => {
  const token = (iat, sub = "1") => tokenOf({ sub, iat, iat_ms: iat * 1000, exp: 4e9 });
  page.tags = { "lineside-token": token(10) };
  const lineside = open();
  const connection = await server.connection();
  await connection.welcome({ user: "1" });
  await connection.flush();
  page.tags = { "lineside-token": token(9) };
  page.dispatch("turbo:load");
  page.tags = { "lineside-token": token(11) };
  page.dispatch("turbo:load");
  assert.equal((await connection.receive()).token, token(11));
  server.answers.push([200, { token: token(12, "2") }]);
  page.tags = { "lineside-token": token(12, "2") };
  page.dispatch("turbo:load");
  assert.equal((await (await server.connection()).receive()).token, token(12, "2"));
  assert.equal(server.requests.length, 1);
  assert.equal(lineside.status, "connecting");
});

clientTest("a token received after close opens no socket", async ({ t, server, open }) => {
  const now = Math.floor(Date.now() / 1000);
  const asked = async (count) => {
    while (server.requests.length < count && !t.signal.aborted) await new Promise(setImmediate);
  };
  let answer;
  const slowly = () => server.answers.push(new Promise((resolve) => (answer = resolve)));
  const over = async (lineside) => {
    lineside.close();
    answer([200, { token: tokenOf({ sub: "2", iat: now, exp: now + 20 }) }]);
    // Waits until the answer was read. A socket opened by it would arrive before the later one.
    await fetch(server.tokenUrl, { method: "POST" });
    open({ token: "later" });
    assert.equal((await (await server.connection()).receive()).token, "later");
    assert.deepEqual([lineside.status, server.unusedCount], ["closed", 0]);
  };
  t.mock.timers.enable({ apis: ["setTimeout", "Date"], now: now * 1000 });
  slowly();
  const renewing = open({ token: tokenOf({ sub: "1", iat: now, exp: now + 20 }) });
  const connection = await server.connection();
  await connection.welcome({ user: "1" });
  await connection.flush();
  t.mock.timers.tick(14_000);
  await asked(1);
  await over(renewing);
  slowly();
  const connecting = open({ token: "refused" });
  const waiting = until(connecting, "status", "waiting");
  await (await server.connection()).end(4003);
  await waiting;
  t.mock.timers.tick(1);
  await asked(3);
  await over(connecting);
});

clientTest("after close, no message arrives and no reconnect happens", async ({ t, server, page, open }) => {
  const received = [];
  const lineside = open();
  lineside.subscribe("news", (data) => received.push(data));
  const connection = await server.connection();
  await connection.welcome();
  await connection.flush();
  t.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  lineside.close();
  connection.publish("news", 101);
  await connection.closed;
  for (const type of ["pageshow", "online", "visibilitychange", "turbo:load"]) page.dispatch(type);
  t.mock.timers.tick(120_000);
  assert.deepEqual([lineside.status, received, server.unusedCount], ["closed", [], 0]);
});

test("the module has no imports and at most 4.5 KB, minified and gzipped", async () => {
  const source = readFileSync(MODULE, "utf8");
  assert.doesNotMatch(source, /^\s*import\b|\bimport\(|\bfrom "|sourceMappingURL/m);
  const { code } = await transform(source, { minify: true, format: "esm" });
  const { length } = gzipSync(code, { level: 9 });
  assert.ok(length <= MINIFIED_BYTES_MAX, `${length} bytes`);
});

test("the types accept valid and refuse invalid calls", () => {
  const tsc = new URL("node_modules/typescript/bin/tsc", import.meta.url).pathname;
  const options = ["--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"];
  const file = new URL("module.types.mts", import.meta.url).pathname;
  try {
    execFileSync(process.execPath, [tsc, ...options, file]);
  } catch ({ stdout }) {
    assert.fail(String(stdout));
  }
});

test("npm package and gem have the same version", () => {
  const [, version] = readFileSync(`${ROOT}lib/lineside/version.rb`, "utf8").match(/VERSION = "(.*)"/);
  assert.equal(JSON.parse(readFileSync(`${ROOT}package.json`, "utf8")).version, version);
});
