// What the checks of pages share: counting, validating, and a browser that notes what a page says and asks for.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import axe from "axe-core";
import { HtmlValidate } from "html-validate";
import puppeteer from "puppeteer-core";

const rules = {
  // The template's style, not errors: attributes of one value, text as it is wrapped.
  "no-inline-style": "error", "long-title": "off", "no-trailing-whitespace": "off", "require-sri": "off",
  "prefer-native-element": "off", "no-redundant-role": "error", "svg-focusable": "off", "void-style": "off",
};

/// The checks of one page file.
export async function checks(file, chromium) {
  const address = pathToFileURL(file).href;
  const browser = await puppeteer.launch({ executablePath: chromium, args: ["--no-sandbox", "--disable-gpu"] });
  let passed = 0;
  let failed = 0;
  const check = (holds, what, found) => {
    if (holds) passed += 1;
    else {
      failed += 1;
      console.error(`FAILED: ${what}${found === undefined ? "" : `; found ${JSON.stringify(found)}`}`);
    }
  };
  const validate = async () => {
    const validator = new HtmlValidate({ root: true, extends: ["html-validate:recommended"], rules });
    const report = await validator.validateString(readFileSync(file, "utf8"));
    const problems = report.results.flatMap((result) => result.messages);
    check(problems.length === 0, "the page is valid HTML", problems.slice(0, 5).map(({ ruleId, line, message }) => `${line}: ${ruleId}: ${message}`));
  };
  const open = async ({ width = 1400, height = 900, scheme = "light", script = true } = {}) => {
    const page = await browser.newPage();
    page.said = [];
    page.asked = [];
    page.on("console", (message) => page.said.push(message.text()));
    page.on("pageerror", (error) => page.said.push(error.message));
    page.on("request", (request) => page.asked.push(request.url()));
    await page.setJavaScriptEnabled(script);
    await page.setViewport({ width, height });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
    await page.goto(address);
    return page;
  };
  // What keeps a reader with a screen reader or a keyboard out, by the rules of WCAG that a program can judge.
  const accessible = async (what, size) => {
    const page = await browser.newPage();
    await page.setBypassCSP(true);
    await page.setViewport({ width: size.width, height: size.height });
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: size.scheme }]);
    await page.goto(address);
    await page.evaluate(axe.source);
    const { passes, violations } = await page.evaluate(() => axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => node.target.join(" ")).join(", ")}`);
    check(passes.length > 0 && violations.length === 0, `${what}: accessible by axe's rules`, found);
    await page.close();
  };
  const close = async (page, what) => {
    check(page.said.length === 0, `${what}: nothing is said on the console`, page.said);
    check(page.asked.every((url) => url === address || url.startsWith("blob:")), `${what}: no request leaves the page`, page.asked);
    await page.close();
  };
  const conclude = async (name) => {
    await browser.close();
    console.log(`${name}: ${passed} passed, ${failed} failed`);
    process.exitCode = failed === 0 ? 0 : 1;
  };
  return { check, validate, accessible, open, close, conclude };
}
