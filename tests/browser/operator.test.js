// What people do with the dashboard, in a real browser.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { PHONE, start, visit } from "./site.js";

let site;
before(async () => {
  site = await start();
});
after(() => site.close());

/** Waits until a part of the page contains a text. */
async function shows(page, selector, text) {
  await page.locator(selector).filter({ hasText: text }).first().waitFor();
}

test("a wrong password is refused, and the right one opens the dashboard", async () => {
  const stranger = await visit(site, "mira:shut");
  assert.equal((await stranger.goto("/ops/jobs")).status(), 401);

  const page = await visit(site, "mira:open");
  await page.goto("/ops/jobs");

  await shows(page, "h1", "Overview");
  await shows(page, ".who", "mira");
});

test("a failed job is found, read, retried, and seen to finish live", async () => {
  const page = await visit(site, "mira:open");
  await page.goto("/ops/jobs");
  await page.getByRole("link", { name: "Failed" }).first().click();
  await page.fill("#q", "kind:charge_card tag:checkout");
  await page.getByRole("button", { name: "Search" }).click();
  await page.locator("a.name", { hasText: "charge_card" }).first().click();
  await shows(page, "#error", "the gateway is down for maintenance until 04:00 UTC");
  assert.ok(!(await page.content()).includes("4242424242424242"));
  const watcher = await visit(site, "mira:open");
  await watcher.goto(page.url());
  await shows(watcher, "#live", "Live");
  await shows(watcher, "#title", "failed");

  await page.getByRole("button", { name: "Retry now" }).click();

  await shows(page, ".note", "it is ready");
  await shows(watcher, "#title", "finished");
  await shows(watcher, "#because", "finished");
  assert.deepEqual([...page.complaints, ...watcher.complaints], []);
});

test("a schedule is run now", async () => {
  const page = await visit(site, "mira:open");
  await page.goto("/ops/jobs/recurring/weekly_report");

  await page.getByRole("button", { name: "Run now" }).click();

  await shows(page, ".note", "of weekly_report");
  await shows(page, "#firings", "by hand");
});

test("a schedule is added after its next times were seen, changed and removed", async () => {
  const page = await visit(site, "mira:open", { javaScriptEnabled: false });
  await page.goto("/ops/jobs/recurring");
  await page.getByRole("link", { name: "Add…" }).click();
  await page.fill("#f-name", "tidy");
  await page.fill("#f-kind", "tidy_up");
  await page.fill("#f-schedule", "every blue moon");
  await page.fill("#f-zone", "Europe/Berlin");
  await page.getByRole("button", { name: "See its next times" }).click();
  await shows(page, "#h-schedule", "blue moon");
  await page.fill("#f-schedule", "every day at 2am");
  await page.getByRole("button", { name: "See its next times" }).click();
  await shows(page, "form", "every day at 02:00 (Europe/Berlin)");
  assert.equal(await page.locator("tbody tr").count(), 5);

  await page.getByRole("button", { name: "Add tidy" }).click();

  await shows(page, ".note", "Added tidy");
  await shows(page, "#upcoming", "02:00:00");
  await page.getByRole("link", { name: "Change…" }).click();
  await page.fill("#f-schedule", "every day at 3am");
  await page.getByRole("button", { name: "Change tidy" }).click();
  await shows(page, "tbody", "03:00:00");
  await page.getByRole("button", { name: "Change tidy" }).click();
  await shows(page, "#answer", "every day at 03:00");
  await page.getByRole("link", { name: "Remove…" }).click();
  await page.getByRole("button", { name: "Remove tidy" }).click();
  await shows(page, ".note", "Removed tidy");
  assert.equal(await page.getByRole("link", { name: "tidy", exact: true }).count(), 0);
});

test("a viewer sees no act, and is refused", async () => {
  const page = await visit(site, "lena:open");
  await page.goto("/viewer/jobs/jobs?state=failed");
  assert.equal(await page.getByRole("button", { name: "Retry" }).count(), 0);

  const job = await page.locator("a.name").first().getAttribute("href");
  const answer = await page.goto(`${job}/discard`);

  assert.equal(answer.status(), 403);
  await shows(page, "main", "needs the operator role; you are a viewer");
  await page.goto(job);
  const token = await page.locator("input[name=token]").first().getAttribute("value");
  const pressed = await page.request.post(`${job}/retry`, { form: { token } });
  assert.equal(pressed.status(), 403);
  await page.goto(job);
  await shows(page, "#title", "failed");
});

test("the login of the host opens its dashboard", async () => {
  const page = await visit(site);
  assert.equal((await page.goto("/host/jobs")).status(), 401);
  await shows(page, "main", "Sign in there first");

  await page.goto("/host/login?name=jonas");

  await shows(page, ".who", "jonas");
  await shows(page, ".who", "operator");
});

test("everything works without JavaScript", async () => {
  const page = await visit(site, "mira:open", { javaScriptEnabled: false });
  await page.goto("/ops/jobs/jobs?state=ready&kind=build_report");
  await page.locator("input[name=id]").nth(0).check();
  await page.locator("input[name=id]").nth(1).check();
  await page.getByRole("button", { name: "Cancel…" }).click();
  await page.getByRole("button", { name: "Cancel 2 jobs" }).click();
  await shows(page, ".note", "2 jobs");
  await page.goto("/ops/jobs/jobs?state=failed&kind=charge_card");
  await page.locator("a.name").first().click();
  await shows(page, "#live", "As of");

  await page.getByRole("button", { name: "Retry now" }).click();

  await shows(page, ".note", "it is ready");
  await page.getByRole("link", { name: "Hide this message" }).click();
  assert.equal(await page.locator(".note").count(), 0);
});

test("a phone has a menu, and does the same", async () => {
  const page = await visit(site, "mira:open", PHONE);
  await page.goto("/ops/jobs");
  await page.getByRole("link", { name: "Menu" }).click();
  await page.locator("#pages").getByRole("link", { name: "Queues" }).click();
  await shows(page, "h1", "Queues");
  await page.goto("/ops/jobs/jobs?state=failed&kind=charge_card");
  await page.locator("a.name").first().click();
  await shows(page, "#error", "the gateway is down");
  await page.getByRole("link", { name: "Discard…" }).click();
  await page.getByRole("button", { name: /^Discard job/ }).click();
  await shows(page, "#title", "discarded");
});

test("keys open pages, rows and help, choose rows, and hold a view", async () => {
  const page = await visit(site, "mira:open");
  await page.goto("/ops/jobs");
  await shows(page, "#live", "Live");
  await page.keyboard.press("h");
  await shows(page, "#live", "Held");
  await page.keyboard.press("g");
  await page.keyboard.press("f");
  await page.waitForURL("**/failures");
  await page.keyboard.press("j");
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => !url.pathname.endsWith("/failures"));
  await page.keyboard.press("?");
  await page.waitForURL("**/help");
  await page.keyboard.press("g");
  await page.keyboard.press("b");
  await page.waitForURL("**/batches");

  await page.goto("/ops/jobs/jobs?state=failed");
  const time = page.locator("time.ago").first();
  assert.match(await time.innerText(), / ago$/);
  await page.keyboard.press("t");
  assert.equal(await time.innerText(), await time.getAttribute("title"));
  await page.reload();
  assert.match(await time.innerText(), / UTC$/);
  await page.keyboard.press("t");
  assert.match(await time.innerText(), / ago$/);

  const chosen = page.locator("input[name=id]:checked");
  const areChosen = async (number) => assert.equal(await chosen.count(), number);
  for (const key of ["j", "x", "j", "j", "Shift+X"]) await page.keyboard.press(key);
  await areChosen(3);
  await page.keyboard.press("Escape");
  await areChosen(0);
  await page.keyboard.press("*");
  await areChosen(50);
  await page.keyboard.press("/");
  await page.keyboard.type("j?");
  assert.equal(await page.inputValue("#q"), "j?");
  await page.keyboard.press("Escape");
  await page.keyboard.press("d");
  await shows(page, "h1", "Discard 50 jobs?");
});

test("a list stays as it is while rows are chosen, and then goes on", async () => {
  const [page, other] = [await visit(site, "mira:open"), await visit(site, "mira:open")];
  await page.goto("/ops/jobs/jobs?state=failed");
  await shows(page, "#live", "Live");
  const before = await page.locator("#answer").innerText();
  await page.locator("input[name=id]").nth(1).check();
  const name = page.locator("a.name").first();
  const job = await name.getAttribute("href");
  await other.goto(`${job}/discard`);
  await other.getByRole("button", { name: /^Discard job/ }).click();
  await shows(other, "#title", "discarded");
  // The number above the list goes on, the list does not.
  await page.locator("#answer").filter({ hasNotText: before }).waitFor();
  await shows(page, "#live", "Held while rows are chosen");
  assert.equal(await name.getAttribute("href"), job);
  assert.ok(await page.locator("input[name=id]").nth(1).isChecked());

  await page.locator("input[name=id]").nth(1).uncheck();
  await shows(page, "#live", "Held while a field is in use");
  await page.locator("h1").click();

  await page.locator(`a.name[href="${job}"]`).waitFor({ state: "detached" });
  await shows(page, "#live", "Live");
});

test("a page stays as it is while its tab is hidden, and then goes on", async () => {
  const [page, other] = [await visit(site, "mira:open"), await visit(site, "mira:open")];
  const hide = (isHidden) =>
    page.evaluate((isHidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, isHidden);
  await page.goto("/ops/jobs/jobs?state=failed");
  await shows(page, "#live", "Live");
  const job = await page.locator("a.name").first().getAttribute("href");
  await other.goto("/ops/jobs/jobs?state=failed");
  await shows(other, "#live", "Live");
  await hide(true);
  await shows(page, "#live", "Held while this tab is hidden");

  const actor = await visit(site, "mira:open");
  await actor.goto(`${job}/discard`);
  await actor.getByRole("button", { name: /^Discard job/ }).click();

  await other.locator(`a.name[href="${job}"]`).waitFor({ state: "detached" });
  assert.equal(await page.locator("a.name").first().getAttribute("href"), job);
  await hide(false);
  await page.locator(`a.name[href="${job}"]`).waitFor({ state: "detached" });
  await shows(page, "#live", "Live");
});

test("pages come back by themselves when the database does", async () => {
  const [open, opened] = [await visit(site, "mira:open"), await visit(site, "mira:open")];
  await open.goto("/new/jobs/queues");
  await shows(open, "#live", "Live");

  await open.request.get("/stop");

  await shows(open, "#live", "Away");
  assert.equal((await opened.goto("/new/jobs/queues")).status(), 503);
  await shows(opened, "h1", "database");

  await open.request.get("/start");

  await shows(open, "#live", "Live");
  await shows(opened, "h1", "Queues");
});

test("a queue is paused with a reason, which the next page shows", async () => {
  const page = await visit(site, "mira:open");
  await page.goto("/ops/jobs/queues/billing");
  await page.getByRole("link", { name: "Pause…" }).click();
  await page.fill("#why", "the image servers are being moved");
  await page.getByRole("button", { name: "Pause billing" }).click();

  await shows(page, ".note", "Paused billing");
  await shows(page, "#answer", "by mira: “the image servers are being moved”");
  await page.goto("/ops/jobs/queues");
  await shows(page, "tr", "the image servers are being moved");
  await page.getByRole("button", { name: "Resume" }).first().click();
  await shows(page, ".note", "Resumed");
});

test("all that match are retried, watched, and stopped half way", async () => {
  const page = await visit(site, "mira:open");
  await page.goto("/ops/jobs/jobs?state=failed&kind=deliver_webhook");
  await page.locator("input[name=id]").first().check();
  await shows(page, "#live", "while rows are chosen");
  await page.getByLabel(/that match instead/).check();
  await page.getByRole("button", { name: "Retry…" }).click();
  await shows(page, "h1", /^Retry [\d,]+ jobs\?$/);
  await page.fill("#why", "the hooks are back");
  await page.request.get("/hold");
  await page.getByRole("button", { name: /^Retry .* jobs$/ }).click();
  await shows(page, "#title", "Retrying");
  await shows(page, "#title", "running");

  const asked = page.waitForRequest("**/stop");
  const stopped = page.getByRole("button", { name: "Stop here" }).click();
  await asked;
  await page.request.get("/release");
  await stopped;

  await shows(page, "#title", "cancelled");
  await shows(page, "#answer", "Stopped by mira");
  await page.goto("/ops/jobs/audit");
  await shows(page, "tr", "the hooks are back");
});
