// Every page, light and dark, wide and narrow: it is accessible and as wide as the window, the browser does
// not complain, and its picture is kept in target/screenshots.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import axe from "axe-core";
import { start, visit } from "./site.js";

const FOLDER = new URL("../../target/screenshots/", import.meta.url).pathname;
const WIDTHS = [320, 480, 768, 960, 1280, 1920];
const SIZES = { wide: { width: 1280, height: 900 }, phone: { width: 360, height: 800 } };

const ALL_RULES = { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"] };
const COLOURS = { type: "rule", values: ["color-contrast", "link-in-text-block"] };

const jobs = (asked) => `/ops/jobs/jobs?state=${asked}`;

/** The pages: the name of the picture, the path, for some what to do first, and who looks if not mira. */
const PAGES = [
  ["overview", "/ops/jobs"],
  ["jobs-ready", jobs("ready")],
  ["jobs-scheduled", jobs("scheduled")],
  ["jobs-running", jobs("running")],
  ["jobs-blocked", jobs("blocked")],
  ["jobs-failed", jobs("failed")],
  ["jobs-chosen", jobs("failed"), (page) => page.locator("input[name=id]").first().check()],
  ["jobs-finished", jobs("finished")],
  ["jobs-empty", jobs("failed&queue=nowhere")],
  ["jobs-filters", jobs("failed&kind=deliver_webhook&error=503"), (page) => page.click("summary.button")],
  ["job-ready", jobs("ready&kind=build_report"), follow("a.name")],
  ["job-scheduled", jobs("scheduled&kind=send_invoice"), follow("a.name")],
  ["job-waiting", jobs("scheduled&kind=ship_order"), follow("a.name")],
  ["job-running", jobs("running&kind=build_statement"), follow("a.name")],
  ["job-blocked", jobs("blocked&kind=import_account"), follow("a.name")],
  ["job-failed", jobs("failed&kind=charge_card"), follow("a.name")],
  ["job-failed-step", jobs("failed&kind=build_statement"), follow("a.name")],
  ["job-backtrace", jobs("failed&kind=deliver_webhook"), open("a.name", "#error summary")],
  ["job-finished", jobs("finished&kind=build_statement"), follow("a.name")],
  ["job-cancelled", jobs("cancelled"), follow("a.name")],
  ["job-discarded", jobs("discarded"), follow("a.name")],
  ["discard", jobs("failed"), open("a.name", "a:text('Discard…')")],
  ["cancel", jobs("ready"), open("a.name", "a:text('Cancel…')")],
  ["run", jobs("blocked&kind=import_account"), open("a.name", "a:text('Run anyway…')")],
  ["retry-many", "/ops/jobs/jobs/retry?state=failed&kind=deliver_webhook"],
  ["discard-many", "/ops/jobs/jobs/discard?state=failed"],
  ["failures", "/ops/jobs/failures"],
  ["cause", "/ops/jobs/failures", follow("a.name")],
  ["queues", "/ops/jobs/queues"],
  ["queue", "/ops/jobs/queues/billing"],
  ["queue-paused", "/ops/jobs/queues/imports-old"],
  ["pause", "/ops/jobs/queues/billing/pause"],
  ["limits", "/ops/jobs/limits"],
  ["limits-form", "/ops/jobs/limits", follow("a:text('Change…')")],
  ["recurring", "/ops/jobs/recurring"],
  ["schedule", "/ops/jobs/recurring/nightly_ledger"],
  ["schedule-add", "/ops/jobs/add-recurring"],
  ["schedule-wrong", "/ops/jobs/add-recurring", preview({ "f-schedule": "every blue moon", "f-name": "two words" })],
  ["schedule-seen", "/ops/jobs/add-recurring", preview({ "f-schedule": "every day at 2am in Europe/Berlin", "f-name": "tidy", "f-kind": "tidy" })],
  ["schedule-remove", "/ops/jobs/recurring/nightly_ledger/remove"],
  ["batches", "/ops/jobs/batches"],
  ["batch", "/ops/jobs/batches", follow("a.name:has-text('Renewals')")],
  ["batch-retry", "/ops/jobs/batches", open("a.name:has-text('Renewals')", "a:text('Retry')")],
  ["batch-cancel", "/ops/jobs/batches", open("a.name:has-text('Renewals')", "a:text('Cancel…')")],
  ["tenants", "/ops/jobs/tenants"],
  ["tenant", "/ops/jobs/tenants/acme"],
  ["tenant-paused", "/ops/jobs/tenants/nordlicht-gmbh"],
  ["tenant-limit", "/ops/jobs/tenants/acme/limit"],
  ["job-of-tenant", jobs("ready&tenant=nordlicht-gmbh"), follow("a.name")],
  ["processes", "/ops/jobs/processes"],
  ["process", "/ops/jobs/processes", follow("a.name:has-text('worker-eu-1')")],
  ["process-silent", "/ops/jobs/processes", follow("a.name:has-text('worker-eu-3')")],
  ["help", "/ops/jobs/help"],
  ["operation", "/ops/jobs/jobs/retry?state=failed&kind=deliver_webhook", begin],
  ["operation-stopped", "/ops/jobs/jobs?state=failed", stop],
  ["audit", "/ops/jobs/audit"],
  ["shards-overview", "/all/jobs"],
  ["shards-jobs", "/all/jobs/jobs?state=failed"],
  ["shards-failures", "/all/jobs/failures"],
  ["shards-queues", "/all/jobs/queues"],
  ["shards-limits", "/all/jobs/limits"],
  ["shards-recurring", "/all/jobs/recurring"],
  ["shards-batches", "/all/jobs/batches"],
  ["shards-tenants", "/all/jobs/tenants"],
  ["shards-processes", "/all/jobs/processes"],
  ["shards-audit", "/all/jobs/audit"],
  ["shards-one", "/all/jobs/shards/eu"],
  ["closed", "/closed/jobs"],
  ["refused", "/ops/jobs", null, "mira:shut"],
  ["forbidden", "/viewer/jobs/jobs/1/discard", null, "lena:open"],
  ["not-found", "/ops/jobs/jobs/999999999"],
  ["new-overview", "/new/jobs"],
  ["new-jobs", "/new/jobs/jobs"],
  ["new-failures", "/new/jobs/failures"],
  ["new-queues", "/new/jobs/queues"],
  ["new-limits", "/new/jobs/limits"],
  ["new-recurring", "/new/jobs/recurring"],
  ["new-batches", "/new/jobs/batches"],
  ["new-tenants", "/new/jobs/tenants"],
  ["new-processes", "/new/jobs/processes"],
  ["new-audit", "/new/jobs/audit"],
  ["away", "/new/jobs", leave],
];

/** Opens the page behind the first link that fits; a link may be out of sight. */
function follow(selector) {
  return async (page) => page.goto(await page.locator(selector).first().getAttribute("href"));
}

/** Opens the page behind a link, and presses something there. */
function open(selector, there) {
  return async (page) => (await follow(selector)(page), page.locator(there).first().click());
}

/** Fills fields, and asks for the next times. */
function preview(fields) {
  return async (page) => {
    for (const [id, text] of Object.entries(fields)) await page.fill(`#${id}`, text);
    await page.getByRole("button", { name: "See its next times" }).click();
    await page.locator("[role=alert], tbody").waitFor();
  };
}

/** Begins to retry many jobs, but keeps them from being changed. */
async function begin(page) {
  await page.request.get("/hold");
  await page.fill("#why", "the hooks are back");
  await page.getByRole("button", { name: "Retry 10,000 jobs" }).click();
  await page.locator("#title", { hasText: "running" }).waitFor();
}

/** Stops what was begun. */
async function stop(page) {
  await page.locator("a[href*=operations]").first().click();
  const asked = page.waitForRequest("**/stop");
  const stopped = page.getByRole("button", { name: "Stop here" }).click();
  await asked;
  await page.request.get("/release");
  await stopped;
  await page.locator("#title", { hasText: "cancelled" }).waitFor();
}

/** Takes the database away. The page is kept from its reload, which would come in the middle of a look. */
async function leave(page) {
  await page.request.get("/stop");
  await page.route("**/new/jobs", async (route) => {
    const response = await route.fetch();
    const { refresh, ...headers } = response.headers();
    assert.equal(refresh, "5");
    await route.fulfill({ response, headers });
  });
  await page.goto("/new/jobs");
}

let site;
before(async () => {
  mkdirSync(FOLDER, { recursive: true });
  site = await start();
});
after(() => site.close());

/** Looks at a page in one size and one set of colours, and returns what is wrong. */
async function look(page, name, size, colorScheme, runOnly) {
  await page.emulateMedia({ colorScheme });
  const file = `${name}-${size}-${colorScheme}`;
  const { violations } = await page.evaluate((runOnly) => axe.run({ runOnly }), runOnly);
  await page.screenshot({ path: `${FOLDER}${file}.png`, fullPage: true });
  return violations.map(({ id, nodes }) => `${file}: ${id}: ${nodes.map((node) => node.html.slice(0, 200)).join("\n  ")}`);
}

/** Returns the widths of the window in which the page has to be moved sideways, or an icon is no icon. */
async function tooWide(page, name) {
  const problems = [];
  const largest = await page.evaluate(() => Math.max(...[...document.querySelectorAll("svg.icon")].map((icon) => icon.getBoundingClientRect().width)));
  if (largest > 32) problems.push(`${name}: an icon is ${largest} px wide`);
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 900 });
    const excess = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    if (excess > 0) problems.push(`${name}: ${excess} px too wide in a window of ${width} px`);
  }
  return problems;
}

test("every page is accessible, as wide as the window, and without complaint", async () => {
  const visitors = new Map();
  const problems = [];
  for (const [name, path, act, user = "mira:open"] of PAGES) {
    if (!visitors.has(user)) visitors.set(user, await visit(site, user));
    const page = visitors.get(user);
    await page.setViewportSize(SIZES.wide);
    await page.goto(path);
    if (act) await act(page);
    await page.evaluate(axe.source);
    for (const [size, viewport] of Object.entries(SIZES)) {
      await page.setViewportSize(viewport);
      problems.push(...(await look(page, name, size, "light", ALL_RULES)));
      problems.push(...(await look(page, name, size, "dark", COLOURS)));
    }
    problems.push(...(await tooWide(page, name)));
  }
  const complaints = [...visitors.values()].flatMap((page) => page.complaints);
  assert.deepEqual([...problems, ...complaints], []);
});
