// One person at the wizard, in a real Chromium: node drive.mjs JOB.json
//
// JOB: {"modules": folder of node_modules, "shots": folder for pictures, "url": the launch link, "steps": [[name, ...], ...]}
// Answers one JSON line on standard output; what goes wrong ends it with a message. Every page that is met is looked at
// by axe-core, and pictures are taken of it in light and dark, wide and narrow.
import fs from "node:fs";
import path from "node:path";
import { createRequire } from "node:module";

const job = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
const require = createRequire(path.join(job.modules, "x.js"));
const { chromium } = require("playwright-core");
const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
const context = await browser.newContext({ locale: job.locale || "en-GB", viewport: { width: 1200, height: 900 }, acceptDownloads: true });
const page = await context.newPage();
page.setDefaultTimeout(job.timeout || 60000);
const complaints = [];  // of the browser itself: scripts that fail, rules of the CSP that are broken
page.on("console", (m) => { if (m.type() === "error" && !/status of 4\d\d/.test(m.text())) complaints.push(m.text()); });
page.on("pageerror", (e) => complaints.push(String(e)));
const answer = { pages: [], axe: [], complaints, values: {} };

async function look(name) {
  answer.pages.push(name);
  for (const scheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
    const found = await page.evaluate(`${axe}; axe.run(document, { resultTypes: ["violations"] })`);
    for (const v of found.violations)
      answer.axe.push(`${name} (${scheme}): ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 150)).join(" | ")}`);
    if (!job.shots) continue;
    for (const [size, width] of [["wide", 1200], ["narrow", 360]]) {
      await page.setViewportSize({ width, height: 900 });
      const over = await page.evaluate("document.documentElement.scrollWidth - innerWidth");
      if (over > 0) answer.axe.push(`${name} (${size}): ${over} pixels are cut off`);
      await page.screenshot({ path: path.join(job.shots, `${name}-${scheme}-${size}.png`), fullPage: true });
    }
    await page.setViewportSize({ width: 1200, height: 900 });
  }
  await page.emulateMedia({ colorScheme: null });
}

// Not waitForFunction: that needs eval in the page, which its policy forbids.
async function until(condition) {
  const end = Date.now() + (job.timeout || 60000);
  while (!(await page.evaluate(condition).catch(() => false))) {
    if (Date.now() > end) throw new Error(`never: ${condition}`);
    await page.waitForTimeout(50);
  }
}

const at = (where) => page.waitForURL((u) => u.pathname === where);
const steps = {
  look,
  at,
  open: async (to) => { await page.goto(new URL(to, job.url).href); },
  // With the keyboard alone: the control is reached with Tab, then a key is pressed.
  key: async (selector, key) => { await page.focus(selector); await page.keyboard.press(key); },
  // Tab from the beginning of the page until the control has the focus.
  tab: async (selector, key) => {
    await page.evaluate("document.activeElement.blur(); window.scrollTo(0, 0)");
    for (let n = 0; n < 80; ++n) {
      await page.keyboard.press("Tab");
      if (await page.evaluate((s) => document.activeElement.matches(s), selector)) return page.keyboard.press(key);
    }
    throw new Error(`Tab never comes to ${selector}`);
  },
  fill: (selector, text) => page.fill(selector, text),
  choose: (selector, value) => page.selectOption(selector, value),
  check: (selector) => page.check(selector),
  uncheck: async (selector) => {
    const answered = page.waitForResponse((r) => r.url().includes("/api/"));
    await page.uncheck(selector);
    await answered;
  },
  click: (selector) => page.click(selector),
  upload: (selector, file) => page.setInputFiles(selector, file),
  wait: (selector) => page.waitForSelector(selector),
  text: async (selector, text) => { await page.locator(selector).filter({ hasText: text }).first().waitFor(); },
  value: async (name, selector) => { answer.values[name] = await page.innerText(selector); },
  count: async (name, selector) => { answer.values[name] = await page.locator(selector).count(); },
  download: async (selector, to) => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.click(selector)]);
    await download.saveAs(to);
  },
  copied: (n) => until(`(document.querySelector("#live progress") || { value: -1 }).value >= ${n}`),
  // How long until something is painted, and how long a list takes to follow its filter. Milliseconds.
  paint: async (name, to) => {
    await page.goto(new URL(to, job.url).href);
    await until('performance.getEntriesByName("first-contentful-paint").length > 0');
    answer.values[name] = await page.evaluate('performance.getEntriesByName("first-contentful-paint")[0].startTime');
  },
  filter: async (name, text, total) => {
    answer.values[name] = await page.evaluate(async ([wanted, n]) => {
      const input = document.getElementById("filter");
      const began = performance.now();
      input.value = wanted;
      input.dispatchEvent(new Event("input", { bubbles: true }));
      while (!document.querySelector(".pager span").textContent.endsWith(n)) {
        if (performance.now() - began > 20000) throw new Error("the list does not follow: " + document.querySelector(".pager").textContent);
        await new Promise((r) => setTimeout(r, 2));
      }
      return performance.now() - began;
    }, [text, total]);
  },
};

let step = ["launch"];
try {
  await page.goto(job.url);
  for (step of job.steps) await steps[step[0]](...step.slice(1));
  if (job.storage) await context.storageState({ path: job.storage });
} catch (error) {
  const seen = await page.innerText("body").catch(() => "");
  if (job.shots) await page.screenshot({ path: path.join(job.shots, "failed.png"), fullPage: true }).catch(() => {});
  console.error(`${JSON.stringify(step)}: ${error}\n${page.url()}\n${seen.slice(0, 3000)}`);
  process.exitCode = 1;
}
console.log(JSON.stringify(answer));
await browser.close();
