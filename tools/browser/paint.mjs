// How long a page takes until a reader sees it: least and median of rounds, in a fresh browser each.
//   node paint.mjs REPORT.html CHROMIUM [ROUNDS]
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [file, chromium, rounds] = process.argv.slice(2);
const paints = [];
const loads = [];
for (let round = 0; round < Number(rounds || 5); round += 1) {
  const browser = await puppeteer.launch({ executablePath: chromium, args: ["--no-sandbox", "--disable-gpu"] });
  const page = await browser.newPage();
  await page.setViewport({ width: 1400, height: 900 });
  await page.goto(pathToFileURL(file).href, { timeout: 120000 });
  await page.waitForFunction(() => performance.getEntriesByName("first-contentful-paint").length > 0);
  const [paint, load] = await page.evaluate(() => [
    performance.getEntriesByName("first-contentful-paint")[0].startTime,
    performance.getEntriesByType("navigation")[0].loadEventEnd,
  ]);
  paints.push(paint);
  loads.push(load);
  await browser.close();
}
const words = (times) => {
  const sorted = [...times].sort((a, b) => a - b);
  return `${Math.round(sorted[0])} ms least, ${Math.round(sorted[Math.floor(sorted.length / 2)])} ms median`;
};
console.log(`first contentful paint: ${words(paints)}; loaded, script run: ${words(loads)}`);
