// Looks at a report's page as a reader does, in Chromium: see ../browser-check.sh.
//   node check.mjs REPORT.html CHROMIUM [FOLDER FOR SCREENSHOTS]
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { checks } from "./page.mjs";

const [file, chromium, folder] = process.argv.slice(2);
const { check, validate, accessible, open, close, conclude } = await checks(file, chromium);
await validate();
await accessible("1400 px, light", { width: 1400, height: 900, scheme: "light" });
await accessible("400 px, dark", { width: 400, height: 850, scheme: "dark" });
const place = (page, selector) => page.$eval(selector, (element) => {
  const { top, bottom, left, right } = element.getBoundingClientRect();
  return { top, bottom, left, right };
});
// Texts that stick out of their picture, by the browser's own measure.
const textsOutside = (page) => page.$$eval("svg.chart:not(.key)", (charts) => charts.flatMap((chart) => {
  if (chart.getClientRects().length === 0) return [];
  const { x, y, width, height } = chart.viewBox.baseVal;
  return Array.from(chart.querySelectorAll("text")).filter((text) => {
    const box = text.getBBox();
    return box.x < x - 4 || box.y < y - 8 || box.x + box.width > x + width + 4 || box.y + box.height > y + height + 8;
  }).map((text) => text.textContent);
}));
const first = "section.first .plot svg.chart";

{
  const page = await open();
  const height = 900;
  check((await place(page, "h1")).bottom < height, "the question is on the first screen");
  check((await place(page, ".headline")).bottom < height, "the verdict is on the first screen");
  check((await place(page, first)).bottom < height, "the main chart is on the first screen", await place(page, first));
  check((await place(page, "#arms .comparison thead")).bottom < height, "the head of the table is on the first screen", await place(page, "#arms .comparison thead"));
  const outside = await textsOutside(page);
  check(outside.length === 0, "every text is within its picture", outside.slice(0, 5));

  // The legend hides an arm in every chart, and shows it again.
  const boxes = await page.$$("input[data-toggle]");
  check(boxes.length > 0, "the legend has boxes");
  const shown = () => page.$$eval(".plot [data-arm='0']", (groups) => groups.filter((group) => group.getClientRects().length > 0).length);
  const before = await shown();
  await boxes[0].click();
  check(before > 0 && (await shown()) === 0, "an arm whose box is cleared is hidden everywhere", await shown());
  await boxes[0].click();
  check((await shown()) === before, "and shown again");
  await page.click("[data-all=hide]");
  check((await page.$$eval(".plot [data-arm]", (groups) => groups.every((group) => group.getClientRects().length === 0))), "\"none\" hides all arms");
  await page.click("[data-all=show]");

  // Values under the pointer and by keyboard.
  const box = await place(page, first);
  await page.mouse.move((box.left + box.right) / 2 - 60, (box.top + box.bottom) / 2);
  const tip = await page.$eval(".tip", (tip) => (tip.hidden ? "" : tip.innerText));
  check(/^step [\d,]+/.test(tip) && /\d\.\d/.test(tip), "values are told under the pointer", tip);
  await page.mouse.move(2, 2);
  check(await page.$eval(".tip", (tip) => tip.hidden), "and not elsewhere");
  await page.focus("section.first .plot");
  await page.keyboard.press("End");
  const last = await page.$eval(".tip b", (step) => step.textContent);
  await page.keyboard.press("ArrowLeft");
  const beforeLast = await page.$eval(".tip b", (step) => step.textContent);
  check(last !== beforeLast && last.startsWith("step "), "arrow keys read values", [last, beforeLast]);
  await page.keyboard.press("Escape");

  // Another axis, and back.
  const ticks = () => page.$$eval(`${first} .axes text`, (texts) => texts.map((text) => text.textContent).join(" "));
  const drawn = await ticks();
  if (await page.$("section.first [data-axis=x]")) {
    await page.click("section.first [data-axis=x]");
    check((await ticks()) !== drawn, "a button changes the axis of steps");
    await page.click("section.first [data-axis=x]");
    check((await ticks()) === drawn, "and changes it back");
  }

  // A chart's numbers as a file.
  await page.evaluate(() => {
    window.saved = [];
    URL.createObjectURL = (blob) => { blob.text().then((text) => window.saved.push(text)); return "blob:none"; };
    HTMLAnchorElement.prototype.click = () => {};
  });
  await page.click("section.first [data-save]");
  const csv = await page.waitForFunction(() => window.saved[0]).then((handle) => handle.jsonValue());
  check(csv.startsWith("step,arm,mean,low,high,runs\n") && csv.split("\n").length > 3, "a chart's numbers are a file", csv.slice(0, 80));

  // Sorting.
  const column = () => page.$$eval("#arms .comparison tbody tr th", (cells) => cells.map((cell) => cell.textContent));
  const order = await column();
  await page.click("#arms .comparison thead th:first-child button");
  const up = await column();
  await page.click("#arms .comparison thead th:first-child button");
  const down = await column();
  check([...up].reverse().join() === down.join() && [...up].sort().join() === [...order].sort().join(), "tables are sorted both ways", [up, down]);
  check((await page.$eval("#arms .comparison thead th:first-child", (heading) => heading.ariaSort)) === "descending", "a sorted column says so");
  check(await page.$$eval("main script:not([type]), main iframe, main img, main b b", (elements) => elements.length === 0), "names are text");
  await close(page, "1400 px");
}
{
  const page = await open({ width: 400, height: 850 });
  check((await place(page, first.replace("svg", ".narrow svg"))).bottom < 850, "on a phone the main chart is on the first screen", await place(page, first.replace("svg", ".narrow svg")));
  check((await place(page, "#arms h2")).top < 850, "and the table begins there");
  check(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "a phone does not scroll sideways", await page.evaluate(() => document.documentElement.scrollWidth));
  const outside = await textsOutside(page);
  check(outside.length === 0, "every text is within its picture on a phone", outside.slice(0, 5));
  await close(page, "400 px");
}
{
  // The page's own policy: what is put into the page by somebody else neither runs nor changes how it looks.
  const page = await open();
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.foreign = true";
    const style = document.createElement("style");
    style.textContent = "h1 { display: none }";
    document.body.append(script, style);
  });
  check(await page.evaluate(() => window.foreign === undefined), "a foreign script does not run");
  check((await page.$eval("h1", (heading) => heading.getClientRects().length)) > 0, "a foreign style sheet is not applied");
  page.said = page.said.filter((words) => !words.includes("Content Security Policy"));
  await close(page, "with foreign parts");
}
{
  const page = await open({ script: false });
  check((await place(page, first)).bottom - (await place(page, first)).top > 100, "charts are there without script");
  check(await page.$$eval("input[data-toggle], button[data-all]", (inputs) => inputs.every((input) => input.getClientRects().length === 0)), "what needs a script is not shown without one");
  check((await page.$$("#runs tbody tr")).length > 0, "runs are listed without script");
  await close(page, "without script");
}
if (folder) {
  mkdirSync(folder, { recursive: true });
  for (const [width, height] of [[1400, 900], [400, 850]]) {
    for (const scheme of ["light", "dark"]) {
      const page = await open({ width, height, scheme });
      await page.screenshot({ path: join(folder, `${width}-${scheme}.png`) });
      await page.screenshot({ path: join(folder, `${width}-${scheme}-full.png`), fullPage: true });
      if (width === 1400 && scheme === "dark") await page.pdf({ path: join(folder, "print.pdf"), format: "A4" });
      await close(page, `screenshot ${width} ${scheme}`);
    }
  }
}
await conclude("browser-check");
