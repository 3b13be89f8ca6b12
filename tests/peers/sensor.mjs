#!/usr/bin/env node
// Two pages of Chromium on the sensor.
//   sensor.mjs http://127.0.0.1:PORT/ [FOLDER-FOR-SCREENSHOTS]
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { launch } from './browser.mjs';
import { check, run } from './check.mjs';

const url = process.argv[2], folder = process.argv[3] ?? 'screenshots';
mkdirSync(folder, { recursive: true });
const browser = await launch();
const complaints = [];

async function open() {
  const page = await browser.newPage({ viewport: { width: 480, height: 480 } });
  page.setDefaultTimeout(20000);
  page.on('pageerror', e => complaints.push(String(e)));
  assert.equal((await page.goto(url)).status(), 200);
  await page.waitForFunction(() => document.getElementById('state').textContent === 'live');
  return page;
}

const text = (page, id) => page.$eval(`#${id}`, e => e.textContent);
const becomes = (page, id, wanted) =>
  page.waitForFunction(([id, wanted]) => document.getElementById(id).textContent === wanted, [id, wanted]);
const interval = (page, wanted) => page.waitForFunction(wanted => document.getElementById('interval').value === wanted, wanted);

let first, second;
check('two pages show live values', async () => {
  first = await open();
  second = await open();
  for (const page of [first, second]) {
    await interval(page, '1000');
    const number = +await text(page, 'number');
    await page.waitForFunction(number => +document.getElementById('number').textContent > number, number);
    assert.match(await text(page, 'celsius'), /^2\d\.\d\d$/);
  }
  await first.screenshot({ path: `${folder}/sensor.png` });
});

check('one page sets the interval, and both show it', async () => {
  await first.fill('#interval', '100');
  await first.click('button');
  for (const page of [first, second]) await interval(page, '100');
  assert.equal(await text(first, 'error'), '');
});

check('a command that is wrong is answered, and the values go on', async () => {
  await first.evaluate(() => socket.send('{"interval":5}'));
  await becomes(first, 'error', 'an interval has 50 to 60000 ms');
  await first.evaluate(() => socket.send('{"interval":'));
  await first.waitForFunction(() => document.getElementById('error').textContent.startsWith('EOF'));
  const number = +await text(first, 'number');
  await first.waitForFunction(number => +document.getElementById('number').textContent > number, number);
});

check('a page that was closed by the sensor connects again', async () => {
  await second.evaluate(() => socket.send(new Uint8Array(1)));
  await becomes(second, 'state', 'connecting');
  await becomes(second, 'state', 'live');
});

check('another path is not found', async () => {
  assert.equal((await fetch(`${url}nothing`)).status, 404);
});

check('no script failed', () => assert.deepEqual(complaints, []));

run(() => browser.close());
