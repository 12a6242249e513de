// The program with the dashboards, and a browser.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const CHROMIUM = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Starts the program and a browser. Both end with `close`. */
export async function start() {
  const program = spawn(process.env.TEST_DASHBOARD, { stdio: ["pipe", "pipe", "inherit"] });
  const ended = new Promise((resolve) => program.once("exit", resolve));
  const lines = createInterface({ input: program.stdout });
  const address = await new Promise((resolve, reject) => {
    lines.once("line", resolve);
    ended.then((code) => reject(new Error(`the program ended with ${code}`)));
  });
  const executablePath = process.env.CHROMIUM ?? CHROMIUM.find((path) => existsSync(path));
  const browser = await chromium.launch({ executablePath });
  const close = async () => {
    await browser.close();
    program.stdin.end();
    await ended;
  };
  return { address, browser, close };
}

/**
 * Opens a page for a user, `name:password`. What the browser complains of is in `page.complaints`: scripts that
 * failed, what the policy forbids, and parts of pages that are missing. An answer that refuses a page is none.
 */
export async function visit({ address, browser }, user, options = {}) {
  const [username, password] = user ? user.split(":") : [];
  const httpCredentials = user ? { username, password } : undefined;
  const context = await browser.newContext({ baseURL: address, httpCredentials, ...WIDE, ...options });
  context.setDefaultTimeout(15_000);
  const page = await context.newPage();
  page.complaints = [];
  page.on("pageerror", (error) => page.complaints.push(`${page.url()}: ${error}`));
  page.on("console", (message) => {
    const isOfStatus = message.text().startsWith("Failed to load resource");
    if (message.type() === "error" && !isOfStatus) page.complaints.push(`${page.url()}: ${message.text()}`);
  });
  page.on("response", (response) => {
    const isPart = response.request().resourceType() !== "document";
    if (isPart && response.status() >= 400) page.complaints.push(`${response.url()}: ${response.status()}`);
  });
  return page;
}

const WIDE = { viewport: { width: 1280, height: 900 } };
export const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
