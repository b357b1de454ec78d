// Tests of Turbo streams in Chromium by route: a proxy sends the path of Action Cable to the sidecar.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Guest, MODULE, everyTest, replaceRoom, room, useRooms } from "./guest.mjs";

useRooms({ byRoute: true });

test("an idle page by route whose cookie expires refreshes itself and is morphed", async () => {
  await replaceRoom({ byRoute: true, env: { TOKEN_SECONDS: "2" } });
  const guest = await Guest.open({ query: `${MODULE}&refresh=morph` });
  await guest.page.evaluate(() => (Math.random = () => 0));
  const born = await guest.born();
  const key = () => guest.page.locator("turbo-cable-stream-source").first().getAttribute("data-lineside-page");
  const first = await key();
  await guest.page.waitForFunction(() => events.includes("lost"));
  await guest.page.waitForFunction(
    (old) => document.querySelector("turbo-cable-stream-source").getAttribute("data-lineside-page") !== old,
    first,
  );
  await guest.is("connected");
  await room.post("after");
  await guest.sees("after");
  assert.deepEqual(await guest.texts(), ["after"]);
  assert.equal(await guest.born(), born);
});

for (const kept of ["", "&kept=1"]) {
  test(`a page by route without its cookie is rendered again and connects${kept && ", with a permanent source"}`, async () => {
    const guest = await Guest.open({ query: `${MODULE}${kept}` });
    // A delay of a second, so that the refused connection is closed before the refresh.
    await guest.page.evaluate(() => (Math.random = () => 0.2));
    const rendered = guest.page.waitForResponse("**/rooms/board*");
    await guest.loseIdentity();
    await rendered;
    await guest.connected();
    await guest.is("connected");
    await room.append("posts", "after");
    await guest.sees("after");
    assert.deepEqual(await guest.texts(), ["after"]);
    // The sources of the room and of the user are lost, once each.
    assert.equal((await guest.events()).filter((it) => it === "lost").length, 2);
  });
}

test("a page by route that is unauthorized when it is rendered again is not refreshed again", async () => {
  const guest = await Guest.open({ query: MODULE });
  await guest.page.evaluate(() => (Math.random = () => 0));
  await guest.page.context().request.get(`${room.url}/sign_out`);
  const visits = guest.countVisits();
  const again = guest.page.waitForEvent("websocket", { predicate: () => visits.count === 1 });
  await guest.loseIdentity();
  const refused = await again;
  await refused.waitForEvent("close");
  await guest.is("disconnected");
  await guest.page.evaluate(() => new Promise((resolve) => setTimeout(resolve)));
  assert.equal(visits.count, 1);
  assert.equal((await guest.events()).filter((it) => it === "lost").length, 2);
});

test("a page by route with the refresh turned off says that it is disconnected", async () => {
  const guest = await Guest.open({ query: `${MODULE}&off=1` });
  await guest.page.evaluate(() => (Math.random = () => 0));
  const visits = guest.countVisits();
  await guest.loseIdentity();
  await guest.is("disconnected");
  await guest.page.evaluate(() => new Promise((resolve) => setTimeout(resolve)));
  assert.equal(visits.count, 0);
  assert.equal((await guest.events()).filter((it) => it === "lost").length, 2);
  await guest.click("elsewhere");
  await guest.is("connected");
});

everyTest("a page by route receives, resumes after a restart of the sidecar, and ends at the sign-out", async (query) => {
  const ada = await Guest.open({ query });
  const grace = await Guest.open({ query, user: "grace" });
  await room.post("before");
  await room.append("posts", "for ada", "user:ada");
  await ada.sees("for ada");
  await room.sidecar.stop();
  await room.post("during");
  await room.startSidecar();
  await Promise.all([ada.sees("during"), grace.sees("during")]);
  await room.post("after");
  await Promise.all([ada.sees("after"), grace.sees("after")]);
  assert.deepEqual(await ada.texts(), ["before", "for ada", "during", "after"]);
  assert.deepEqual(await grace.texts(), ["before", "during", "after"]);

  await ada.page.context().request.get(`${room.url}/sign_out`);
  await room.disconnect("ada");
  await ada.disconnected();
  await room.append("posts", "signed out");
  await room.append("posts", "for ada", "user:ada");
  await grace.sees("signed out");
  assert.deepEqual(await ada.texts(), ["before", "for ada", "during", "after"]);
  // No connection came through the app.
  assert.deepEqual(room.connects(), []);
  assert.deepEqual([...ada.faults, ...grace.faults], []);
});

test("a page by route without the module stays silent after it is refused, as its client does", async () => {
  const guest = await Guest.open();
  const visits = guest.countVisits();
  await guest.loseIdentity();
  await guest.disconnected();
  await room.append("posts", "missed");
  const other = await Guest.open({ user: "grace" });
  await room.append("posts", "marker");
  await other.sees("marker");
  assert.deepEqual(await guest.texts(), []);
  assert.equal(visits.count, 0);
  await guest.page.reload();
  await guest.connected();
  await room.append("posts", "after the reload");
  await guest.sees("after the reload");
});
