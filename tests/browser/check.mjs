// node check.mjs URL: proves on a running demo that a post reaches two signed-in users, and that a notification reaches
// its user and not the other. One line and status 0, or one line and status 1.
import { Visitor, launchBrowser } from "./visitor.mjs";

// What is under way, for the line that says what failed.
let step;

async function check(browser, url) {
  // Words of this run, so that an older post on the board cannot pass for the new one.
  const run = Date.now().toString(36);
  const [forAll, forAda, marker] = [`all-${run}`, `ada-${run}`, `grace-${run}`];
  step = "signing in and connecting two users";
  const ada = await Visitor.signIn(browser, url, "Ada");
  const grace = await Visitor.signIn(browser, url, "Grace");

  step = "a post of Ada's reaching both";
  await ada.post(forAll);
  await Promise.all([ada.sees("posts", forAll), grace.sees("posts", forAll)]);

  step = "a notification of Grace's reaching Ada";
  await grace.notify("Ada", forAda);
  await ada.sees("notices", forAda);
  // Sent after it, over the same path: had the first one come to Grace, it would be there by now.
  step = "a notification of Ada's reaching Grace";
  await ada.notify("Grace", marker);
  await grace.sees("notices", marker);

  step = "each notification reaching nobody else";
  if (await grace.knowsOf(forAda)) throw new Error("Grace received what was published to Ada");
  if (await ada.knowsOf(marker)) throw new Error("Ada received what was published to Grace");

  step = "the pages being without faults";
  const faults = [...ada.faults, ...grace.faults];
  if (faults.length > 0) throw new Error(faults.join("; "));
}

const url = process.argv[2];
if (!url) {
  console.error("check: which demo? node check.mjs URL");
  process.exit(1);
}
const browser = await launchBrowser();
try {
  await check(browser, url);
  console.log(`check: ok, the board reached Ada and Grace, each notification its own user alone (${url})`);
} catch (error) {
  console.error(`check: failed at ${step}: ${error.message.split("\n")[0]} (${url})`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
