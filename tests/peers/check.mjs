// Run checks one after another: a line for each, exit code 1 if one failed or none ran.
import { setTimeout as sleep } from 'node:timers/promises';

const SECONDS = 60; // for one check
const checks = [];

export const check = (title, run) => checks.push({ title, run });

export function within(promise, seconds, what) {
  const late = sleep(seconds * 1000, null, { ref: false }).then(() => { throw new Error(`no ${what} within ${seconds} s`); });
  return Promise.race([promise, late]);
}

// Records each text that this element of a page shows from now on: one that stands for a moment only is not missed then.
export const recordTexts = (page, selector) => page.evaluate(selector => {
  const element = document.querySelector(selector);
  window.recordedTexts = [];
  new MutationObserver(() => window.recordedTexts.push(element.textContent))
    .observe(element, { attributes: true, characterData: true, childList: true, subtree: true });
}, selector);

// Waits until one of the recorded texts matches.
export const recorded = (page, pattern) => page.waitForFunction(pattern => window.recordedTexts.some(text => pattern.test(text)), pattern);

export async function run(cleanUp = () => {}) {
  let failed = 0;
  for (const { title, run } of checks) {
    try {
      await within(run(), SECONDS, 'end');
      console.log(`ok   ${title}`);
    } catch (e) {
      failed += 1;
      console.log(`FAIL ${title}: ${String(e.stack ?? e).slice(0, 600)}`);
    }
  }
  await cleanUp();
  console.log(`${checks.length - failed} passed, ${failed} failed`);
  process.exit(failed || !checks.length ? 1 : 0);
}
