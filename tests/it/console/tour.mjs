// A tour of the console: CONSOLE is its address, PICTURES the folder for pictures. Says `sent` when the first send is seen
// sent, and `done` at the end; fails at the first thing that is not as a person needs it.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../.cache/console/tour.mjs", import.meta.url));
const { chromium } = require("playwright-core");
const { CONSOLE, PICTURES } = process.env;

// The inbox of the test delivers late to numbers that end so.
const NUMBER = "+60123456001";
const WIDTHS = [390, 1024, 1600];

const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-quic"] });
const complaints = [];

async function open(options) {
  const context = await browser.newContext({ deviceScaleFactor: 1, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  page.on("console", (message) => message.type() === "error" && complaints.push(`${page.url()}: ${message.text()}`));
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error}`));
  return page;
}

/** What holds on every page at every width. */
async function inspect(page) {
  const found = await page.evaluate(() => {
    const named = (field) => field.type === "hidden" || field.labels?.length > 0 || field.getAttribute("aria-label");
    const fields = [...document.querySelectorAll("input, select, textarea")].filter((field) => !named(field));
    const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
    return {
      overflow: document.documentElement.scrollWidth - innerWidth,
      unnamed: fields.map((field) => field.outerHTML),
      headings: document.querySelectorAll("h1").length,
      repeated: ids.filter((id, at) => ids.indexOf(id) !== at),
      buttons: [...document.querySelectorAll("button")].filter((button) => !button.hidden && !button.closest("template") && !button.textContent.trim()).length,
    };
  });
  assert.deepEqual(found, { overflow: Math.min(found.overflow, 0), unnamed: [], headings: 1, repeated: [], buttons: 0 }, page.url());
}

/** The least contrast of the words that are seen, as WCAG 2.2 counts it, and the words. */
async function contrast(page) {
  return page.evaluate(() => {
    const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
    const light = ([r, g, b]) => {
      const [x, y, z] = [r, g, b].map((part) => part / 255).map((part) => (part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
      return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const ground = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const colour = parse(getComputedStyle(at).backgroundColor);
        if ((colour[3] ?? 1) > 0.99) return colour;
      }
      return [255, 255, 255];
    };
    let least = { ratio: 21, text: "" };
    for (const element of document.querySelectorAll("body *")) {
      const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
      if (!own || !element.checkVisibility() || element.closest("svg")) continue;
      const [one, other] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
      const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
      if (ratio < least.ratio) least = { ratio, text: element.textContent.trim().slice(0, 40) };
    }
    return least;
  });
}

// --- A verification from the form to the timeline ---

const page = await open({ viewport: { width: 1024, height: 900 } });
await page.goto(`${CONSOLE}/`);
await page.getByRole("heading", { name: "Overview" }).waitFor();

// By keyboard: the first stop leads past the links.
await page.keyboard.press("Tab");
assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
await page.keyboard.press("Enter");
assert.equal(await page.evaluate(() => document.activeElement.id), "main");

await page.getByRole("link", { name: "Try it" }).click();
await page.getByLabel("Tenant").selectOption("acme");
await page.getByLabel("Phone number or e-mail address").fill(NUMBER);
await page.getByLabel("Channel").selectOption("sms");
await page.getByLabel("Language").fill("en");
await page.getByRole("button", { name: "Start" }).click();

await page.getByRole("heading", { name: "Verification" }).waitFor();
const record = new URL(page.url()).pathname;
await page.getByText("A vendor took the send.").waitFor();
assert.equal(await page.getByText("A vendor reported that the send arrived.").count(), 0);
// The page that is open now shows what comes, without being loaded again.
await page.evaluate(() => (window.sameAsBefore = true));
process.stdout.write("sent\n");
await page.getByText("A vendor reported that the send arrived.").waitFor();
assert.equal(await page.evaluate(() => window.sameAsBefore), true);
assert.equal(await page.locator("[data-live-state]").textContent(), "Live");
assert.equal(await page.getByText(NUMBER).count(), 0, "masked until somebody presses the button");

await page.getByRole("link", { name: "Search" }).click();
await page.getByLabel("Tenant").selectOption("acme");
await page.getByLabel("Phone number or e-mail address").fill("012-345 6001");
await page.getByRole("button", { name: "Find" }).click();
await page.locator(`a[href="${record}"]`).click();
await page.getByRole("heading", { name: "Timeline" }).waitFor();
assert.ok((await page.locator(".timeline li").count()) >= 4);
await page.getByText("The route as it stands now").click();
await page.getByText("first in the route that fits").waitFor();

await page.getByRole("button", { name: "Reveal recipient and metadata" }).click();
await page.getByText(NUMBER).waitFor();

await page.getByRole("link", { name: "Inbox" }).click();
await page.locator(".code-text").first().waitFor();
const code = await page.locator(".code-text").first().textContent();
await page.goto(`${CONSOLE}${record}`);
assert.ok(!(await page.content()).includes(code), "codes stand in the inbox alone");

// --- Every page, at every width, in both themes ---

for (const colorScheme of ["light", "dark"]) {
  for (const width of WIDTHS) {
    const page = await open({ colorScheme, viewport: { width, height: 900 } });
    for (const target of ["/overview", "/search", "/vendors", "/blocks", "/try", "/inbox", record]) {
      await page.goto(`${CONSOLE}${target}`);
      // The script has been at work once.
      await page.waitForFunction(() => !document.querySelector("[data-live-state]") || document.querySelector("[data-live-state]").textContent === "Live");
      await inspect(page);
      const least = await contrast(page);
      assert.ok(least.ratio >= 4.5, `${target} ${colorScheme}: contrast ${least.ratio.toFixed(2)} of “${least.text}”`);
      const name = target === record ? "record" : target.slice(1);
      await page.screenshot({ path: `${PICTURES}/${name}-${width}-${colorScheme}.png`, fullPage: true });
    }
    await page.context().close();
  }
}

// Without script, too, a page is whole.
const plain = await open({ javaScriptEnabled: false, viewport: { width: 390, height: 900 } });
await plain.goto(`${CONSOLE}${record}`);
await plain.getByText("A vendor reported that the send arrived.").waitFor();

assert.deepEqual(complaints, []);
await browser.close();
process.stdout.write("done\n");
