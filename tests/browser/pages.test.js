// Every page, light and dark, wide and narrow: it is accessible and as wide as the window, and its picture
// is kept in target/screenshots.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import axe from "axe-core";
import { PHONE, WIDE, start, visit } from "./site.js";

const FOLDER = new URL("../../target/screenshots/", import.meta.url).pathname;

/** The pages: the name of the picture, the path, and for some what to do first. */
const PAGES = [
  ["overview", "/ops/jobs"],
  ["jobs", "/ops/jobs/jobs?state=failed"],
  ["jobs-running", "/ops/jobs/jobs?state=running"],
  ["jobs-blocked", "/ops/jobs/jobs?state=blocked"],
  ["jobs-empty", "/ops/jobs/jobs?state=failed&queue=nowhere"],
  ["jobs-filters", "/ops/jobs/jobs?state=failed&kind=deliver_webhook&error=503", (page) => page.click("summary.button")],
  ["job-failed", "/ops/jobs/jobs?state=failed&kind=charge_card", follow("a.name")],
  ["job-blocked", "/ops/jobs/jobs?state=blocked", follow("a.name")],
  ["job-running", "/ops/jobs/jobs?state=running", follow("a.name")],
  ["job-finished", "/ops/jobs/jobs?state=finished", follow("a.name")],
  ["discard", "/ops/jobs/jobs?state=failed", follow("a:text('Discard…')")],
  ["retry-many", "/ops/jobs/jobs/retry?state=failed&kind=deliver_webhook"],
  ["discard-many", "/ops/jobs/jobs/discard?state=failed"],
  ["failures", "/ops/jobs/failures"],
  ["cause", "/ops/jobs/failures", follow("a.name")],
  ["queues", "/ops/jobs/queues"],
  ["queue", "/ops/jobs/queues/billing"],
  ["pause", "/ops/jobs/queues/billing/pause"],
  ["limits", "/ops/jobs/limits"],
  ["recurring", "/ops/jobs/recurring"],
  ["schedule", "/ops/jobs/recurring/nightly_ledger"],
  ["processes", "/ops/jobs/processes"],
  ["process", "/ops/jobs/processes", follow("a.name:has-text('worker-eu-1')")],
  ["audit", "/ops/jobs/audit"],
  ["help", "/ops/jobs/help"],
  ["closed", "/closed/jobs"],
  ["not-found", "/ops/jobs/jobs/999999999"],
];

/** Opens the page behind the first link that fits; on phones a link may be out of sight. */
function follow(selector) {
  return async (page) => page.goto(await page.locator(selector).first().getAttribute("href"));
}

let site;
before(async () => {
  mkdirSync(FOLDER, { recursive: true });
  site = await start();
});
after(() => site.close());

async function look(page, colorScheme, file, rules) {
  await page.emulateMedia({ colorScheme });
  const found = await page.evaluate((rules) => axe.run({ runOnly: rules }), rules);
  const violations = found.violations.map(
    ({ id, nodes }) => `${file}: ${id}: ${nodes.map((node) => node.html.slice(0, 200)).join("\n  ")}`,
  );
  await page.screenshot({ path: `${FOLDER}${file}.png`, fullPage: true });
  return violations;
}

for (const [width, options] of [["wide", WIDE], ["phone", PHONE]]) {
  test(`every page is accessible on a ${width} screen, light and dark`, async () => {
    const page = await visit(site, "mira:open", options);
    const problems = [];
    for (const [name, path, act] of PAGES) {
      await page.goto(path);
      if (act) await act(page);
      const excess = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
      if (excess > 0) problems.push(`${name}, ${width}: ${excess} px too wide`);
      await page.evaluate(axe.source);
      const all = { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] };
      problems.push(...(await look(page, "light", `${name}-${width}-light`, all)));
      const colours = { type: "rule", values: ["color-contrast"] };
      problems.push(...(await look(page, "dark", `${name}-${width}-dark`, colours)));
    }
    assert.deepEqual([...problems, ...page.complaints], []);
  });
}
