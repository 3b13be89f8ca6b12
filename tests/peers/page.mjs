#!/usr/bin/env node
// Chromium on the echo server's own page, through the ids that the page documents.
//   page.mjs http://127.0.0.1:PORT/ [FOLDER-FOR-SCREENSHOTS]
// With https the certificate may be of any authority.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { devices } from 'playwright-core';
import { launch } from './browser.mjs';
import { check, run } from './check.mjs';

const url = process.argv[2], folder = process.argv[3] ?? 'screenshots';
mkdirSync(folder, { recursive: true });
const browser = await launch();
const complaints = [];

async function open(options) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options });
  context.setDefaultTimeout(15000);
  const page = await context.newPage();
  page.on('pageerror', e => complaints.push(String(e)));
  page.on('requestfailed', r => complaints.push(`${r.url()}: ${r.failure().errorText}`));
  const response = await page.goto(url);
  assert.equal(response.status(), 200);
  assert.match(response.headers()['content-type'], /^text\/html\b/);
  return page;
}

async function connect(page, protocol = '') {
  await page.selectOption('#protocol', protocol);
  await page.click('#connect');
  await page.waitForSelector(`#state[data-state=open][data-protocol="${protocol.split(',')[0]}"]`);
}

// The newest answer in the log, once there are `count` of them.
async function answer(page, count) {
  const row = page.locator('#log li[data-dir=in]:not([data-kind=info])').nth(count - 1);
  await row.waitFor();
  return { ...await row.evaluate(e => ({ ...e.dataset })), text: await row.locator('code').textContent() };
}

async function expectAnswer(page, count, kind, size, text = '') {
  const got = await answer(page, count);
  assert.deepEqual([got.kind, got.size, got.ok], [kind, String(size), 'true']);
  assert.ok(got.text.includes(text), `the log shows ${got.text}`);
}

async function fits(page) {
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'the page scrolls sideways');
}

let page;
check('the page loads, connects and agrees on a subprotocol', async () => {
  page = await open({ viewport: { width: 1280, height: 800 } });
  await connect(page, 'chat,echo');
});

check('text, binary and 1 MiB come back identical', async () => {
  await page.fill('#text', 'grüße, 世界 🎉');
  await page.press('#text', 'Enter');
  await expectAnswer(page, 1, 'text', new TextEncoder().encode('grüße, 世界 🎉').length, 'grüße, 世界 🎉');
  await page.fill('#binary-size', '256');
  await page.click('#send-binary');
  await expectAnswer(page, 2, 'binary', 256);
  await page.click('#large-1m');
  await expectAnswer(page, 3, 'binary', 1 << 20);
  await page.selectOption('#kind', 'text');
  await page.click('#large-1m');
  await expectAnswer(page, 4, 'text', 1 << 20);
});

check('"Trigger async" is answered later, "Ping" by no message', async () => {
  await page.click('#async');
  await expectAnswer(page, 5, 'text', 10, 'Async data');
  await page.click('#ping');
  await page.fill('#text', 'after the ping');
  await page.click('#send');
  await expectAnswer(page, 6, 'text', 14, 'after the ping');
});

check('a burst of 1000 messages comes back whole', async () => {
  await page.click('#burst');
  await page.waitForSelector('#burst-result[data-done=true][data-bad="0"]');
  assert.match(await page.textContent('#burst-result'), /all identical/);
  await page.waitForSelector('#waiting[data-value="0"]');
  assert.equal(await page.getAttribute('#mismatches', 'data-value'), '0');
});

check('the close is clean, with its code', async () => {
  await page.screenshot({ path: `${folder}/page-desktop.png` });
  await fits(page);
  await page.fill('#close-code', '4001');
  await page.fill('#close-reason', 'bye');
  await page.click('#disconnect');
  await page.waitForSelector('#state[data-state=closed][data-code="4001"][data-clean=true]');
  assert.equal(await page.locator('#log li[data-ok=false]').count(), 0);
});

check('/auth welcomes with the token and refuses without', async () => {
  await page.fill('#url', '/auth?token=valid');
  await connect(page);
  const welcome = 'Welcome to the WebSocket Echo Server (post-handshake)!';
  await page.locator('#log li[data-dir=in] code', { hasText: welcome }).waitFor();
  await page.fill('#close-code', '1000');
  await page.fill('#close-reason', '');
  await page.click('#disconnect');
  await page.waitForSelector('#state[data-state=closed][data-code="1000"][data-clean=true]');
  await page.fill('#url', '/auth');
  await page.click('#connect');
  await page.waitForSelector('#state[data-state=failed]');
});

check('on a phone', async () => {
  const phone = await open({ ...devices['Pixel 7'] });
  await connect(phone);
  await phone.fill('#text', 'from a phone');
  await phone.tap('#send');
  await expectAnswer(phone, 1, 'text', 12, 'from a phone');
  await phone.screenshot({ path: `${folder}/page-phone.png` });
  await fits(phone);
  await phone.click('#disconnect');
  await phone.waitForSelector('#state[data-state=closed][data-clean=true]');
});

check('the browser complained of nothing', async () => {
  assert.deepEqual(complaints, []);
});

await run(() => browser.close());
