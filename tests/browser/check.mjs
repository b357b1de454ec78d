// node check.mjs URL: checks on a running demo that a post reaches two users, with Turbo too, and that a notification
// reaches its user only. Prints one line and exits with status 0 or 1.
import { Visitor, launchBrowser } from "./visitor.mjs";

// Current step, named in the error message.
let step;

async function check(browser, url) {
  // Unique texts, so that an older post is not mistaken for the new one.
  const run = Date.now().toString(36);
  const [forAll, forAda, marker] = [`all-${run}`, `ada-${run}`, `grace-${run}`];
  step = "signing in and connecting two users";
  const ada = await Visitor.signIn(browser, url, "Ada");
  const grace = await Visitor.signIn(browser, url, "Grace");

  step = "a post of Ada's reaching both";
  await ada.post(forAll);
  await Promise.all([ada.waitFor("posts", forAll), grace.waitFor("posts", forAll)]);

  step = "a notification of Grace's reaching Ada";
  await grace.notify("Ada", forAda);
  await ada.waitFor("notices", forAda);
  // Sent after the first one: when it has arrived, a misdirected first one would have arrived too.
  step = "a notification of Ada's reaching Grace";
  await ada.notify("Grace", marker);
  await grace.waitFor("notices", marker);

  step = "checking that each notification reached nobody else";
  if (await grace.hasReceived(forAda)) throw new Error("Grace received what was published to Ada");
  if (await ada.hasReceived(marker)) throw new Error("Ada received what was published to Grace");

  const forTurbo = `turbo-${run}`;
  step = "signing in on a page with Turbo";
  const katherine = await Visitor.signIn(browser, url, "Katherine", { path: "turbo" });
  step = "a post of Ada's reaching the page with Turbo";
  await ada.post(forTurbo);
  await katherine.waitFor("posts", forTurbo);

  step = "checking the pages for errors";
  const faults = [...ada.faults, ...grace.faults, ...katherine.faults];
  if (faults.length > 0) throw new Error(faults.join("; "));
}

const url = process.argv[2];
if (!url) {
  console.error("check: the URL of the demo is missing; usage: node check.mjs URL");
  process.exit(1);
}
const browser = await launchBrowser();
try {
  await check(browser, url);
  console.log(`check: ok, a post reached Ada, Grace and a page with Turbo, and each notification reached its user only (${url})`);
} catch (error) {
  console.error(`check: failed at ${step}: ${error.message.split("\n")[0]} (${url})`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
