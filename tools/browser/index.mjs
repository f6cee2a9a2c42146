// Looks at the page about a folder of experiments: see ../browser-check.sh.
//   node index.mjs INDEX.html CHROMIUM [FOLDER FOR SCREENSHOTS]
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { checks } from "./page.mjs";

const [file, chromium, folder] = process.argv.slice(2);
const { check, validate, accessible, open, close, conclude } = await checks(file, chromium);
await validate();
await accessible("1400 px, light", { width: 1400, height: 900, scheme: "light" });
for (const width of [1400, 400]) {
  for (const scheme of ["light", "dark"]) {
    const page = await open({ width, scheme });
    check((await page.$$("article")).length > 0, "experiments are listed");
    check(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing scrolls sideways");
    const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    check((scheme === "dark") === (paper !== "rgb(255, 255, 255)"), "the style sheet is applied", paper);
    if (folder) {
      mkdirSync(folder, { recursive: true });
      await page.screenshot({ path: join(folder, `index-${width}-${scheme}.png`) });
    }
    await close(page, `index ${width} ${scheme}`);
  }
}
await conclude("index-check");
