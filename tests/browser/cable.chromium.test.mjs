// Tests of a channel class that runs in the app, in Chromium with the stock client @rails/actioncable, without Turbo.
import assert from "node:assert/strict";
import { test } from "node:test";

import { openPage, room, useRooms } from "./guest.mjs";

useRooms();

// A page of a user with one subscription, and its sockets and errors.
class Guest {
  sockets = 0;
  faults = [];

  static async open(params = {}, { user = "ada", first = "connected" } = {}) {
    const guest = new Guest(await openPage());
    await guest.page.goto(`${room.url}/publish/1`);
    await guest.page.evaluate(subscribe, { user, params: { channel: "RoomChannel", room: 1, ...params } });
    await guest.called(first);
    return guest;
  }

  constructor(page) {
    this.page = page;
    page.on("websocket", () => this.sockets++);
    page.on("pageerror", (error) => this.faults.push(String(error)));
  }

  // Callbacks of the subscription so far, each with its argument.
  calls() {
    return this.page.evaluate(() => globalThis.calls);
  }

  // Waits for calls of a callback.
  called(name, count = 1) {
    return this.page.waitForFunction(([name, count]) => calls.filter((it) => it[0] === name).length >= count, [name, count]);
  }

  // Waits for a message, and returns all messages so far.
  async received(message) {
    await this.page.waitForFunction((text) => calls.some(([name, it]) => name === "received" && it === text), message);
    return (await this.calls()).filter(([name]) => name === "received").map(([, it]) => it);
  }

  // Callbacks other than `received`.
  async states() {
    return (await this.calls()).filter(([name]) => name !== "received");
  }

  // @return whether the client could send it
  perform(action, data) {
    return this.page.evaluate(([action, data]) => subscription.perform(action, data), [action, data]);
  }
}

// Runs in the page: subscribes, and keeps the calls of all callbacks.
async function subscribe({ user, params }) {
  const { createConsumer } = await import("/js/actioncable.js");
  globalThis.calls = [];
  const names = ["initialized", "connected", "disconnected", "rejected", "received"];
  const callbacks = names.map((name) => [name, (...given) => calls.push([name, ...given])]);
  globalThis.consumer = createConsumer(`/cable?user=${user}`);
  globalThis.subscription = consumer.subscriptions.create(params, Object.fromEntries(callbacks));
}

const INITIALIZED = ["initialized"];
const CONNECTED = ["connected", { reconnected: false }];
const DISCONNECTED = ["disconnected", { willAttemptReconnect: true }];
const RECONNECTED = ["connected", { reconnected: true }];

test("actions and broadcasts reach a subscription, each once", async () => {
  const ada = await Guest.open();
  const ben = await Guest.open({}, { user: "ben" });
  await ada.perform("count");
  await ada.received(1);
  await room.broadcast("room:1", "all");
  await ben.received("all");
  await ada.perform("count");
  assert.deepEqual(await ada.received(2), [1, "all", 2]);
  assert.deepEqual(await ben.received("all"), ["all"]);
  assert.deepEqual(await ada.states(), [INITIALIZED, CONNECTED]);
  assert.deepEqual(ada.faults, []);
});

test("a subscription that the class rejects is rejected once, and the socket stays open", async () => {
  const guest = await Guest.open({ locked: true }, { first: "rejected" });
  await guest.page.evaluate(() => {
    globalThis.subscription = consumer.subscriptions.create(
      { channel: "RoomChannel", room: 2 },
      { received: (it) => calls.push(["received", it]) },
    );
  });
  // As in Rails, a rejected subscription ends with `unsubscribed`.
  await room.events(["subscribed 1 ada", "unsubscribed 1 ada", "subscribed 2 ada"]);
  await guest.perform("count");
  await guest.received(1);
  assert.deepEqual(await guest.states(), [INITIALIZED, ["rejected"]]);
  assert.equal(guest.sockets, 1);
});

test("an unsubscribe and a closed page each end a subscription once", async () => {
  const ada = await Guest.open();
  const ben = await Guest.open({}, { user: "ben" });
  await ada.page.evaluate(() => subscription.unsubscribe());
  await room.events(["subscribed 1 ada", "subscribed 1 ben", "unsubscribed 1 ada"]);
  await room.broadcast("room:1", "all");
  await ben.received("all");
  await ben.page.close();
  await room.events(["subscribed 1 ada", "subscribed 1 ben", "unsubscribed 1 ada", "unsubscribed 1 ben", "disconnect ben"]);
  assert.deepEqual(await ada.states(), [INITIALIZED, CONNECTED]);
  assert.deepEqual((await ada.calls()).filter(([name]) => name === "received"), []);
});

test("a restart of Puma is invisible to the page", async () => {
  const guest = await Guest.open();
  await guest.perform("count");
  await guest.received(1);
  await room.puma.stop();
  await room.events(["subscribed 1 ada", "unsubscribed 1 ada"]);
  // Waits in the sidecar for the next process.
  await guest.perform("count");
  await room.startPuma();
  await guest.page.waitForFunction(() => calls.filter(([, it]) => it === 1).length === 2);
  await room.broadcast("room:1", "after");
  // The new channel object counts anew.
  assert.deepEqual(await guest.received("after"), [1, 1, "after"]);
  await room.events(["subscribed 1 ada", "unsubscribed 1 ada", "subscribed 1 ada"]);
  assert.deepEqual(await guest.states(), [INITIALIZED, CONNECTED]);
  assert.equal(guest.sockets, 1);
});

test("a Puma that is killed in the middle of an action is invisible to the page", async () => {
  const guest = await Guest.open();
  await guest.perform("die");
  await room.puma.ended();
  await room.startPuma();
  await room.events(["subscribed 1 ada", "unsubscribed 1 ada", "subscribed 1 ada"]);
  await guest.perform("count");
  await guest.received(1);
  assert.deepEqual(await guest.states(), [INITIALIZED, CONNECTED]);
  assert.equal(guest.sockets, 1);
});

for (const [name, signal] of [["restart", "SIGTERM"], ["crash", "SIGKILL"]]) {
  test(`a page reconnects after a ${name} of the sidecar`, async () => {
    const guest = await Guest.open();
    await guest.perform("count");
    await guest.received(1);
    await room.sidecar.stop(signal);
    await guest.called("disconnected");
    assert.equal(await guest.perform("count"), false);
    await room.startSidecar();
    await guest.called("connected", 2);
    await guest.perform("count");
    await guest.page.waitForFunction(() => calls.filter(([, it]) => it === 1).length === 2);
    await room.broadcast("room:1", "after");
    assert.deepEqual(await guest.received("after"), [1, 1, "after"]);
    await room.events(["subscribed 1 ada", "unsubscribed 1 ada", "disconnect ada", "subscribed 1 ada"]);
    assert.deepEqual(await guest.states(), [INITIALIZED, CONNECTED, DISCONNECTED, RECONNECTED]);
    assert.deepEqual(guest.faults, []);
  });
}

test("a page reconnects after a cut of the network", async () => {
  const guest = await Guest.open();
  await room.broadcast("room:1", "before");
  await guest.received("before");
  room.proxy.cut();
  await guest.page.waitForEvent("websocket");
  room.proxy.heal();
  await guest.called("connected", 2);
  await guest.perform("count");
  await guest.received(1);
  await room.broadcast("room:1", "after");
  assert.deepEqual(await guest.received("after"), ["before", 1, "after"]);
  // The client calls `disconnected` only if its old socket closes before it opens the next one.
  assert.deepEqual((await guest.states()).filter(([name]) => name === "connected"), [CONNECTED, RECONNECTED]);
  // The sidecar ends the old connection when the browser has not answered its ping.
  await room.events(["subscribed 1 ada", "subscribed 1 ada", "unsubscribed 1 ada", "disconnect ada"]);
});
