#!/usr/bin/env node
// Two browsers on the chat, through the ids that its page documents; it is started here, as it has to be started again.
//   chat.mjs PROGRAM [FOLDER-FOR-SCREENSHOTS]
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { devices } from 'playwright-core';
import { launch } from './browser.mjs';
import { check, recorded, recordTexts, run, within } from './check.mjs';

const program = process.argv[2], folder = process.argv[3] ?? 'screenshots';
mkdirSync(folder, { recursive: true });
const complaints = [];
let server, url;

// On the same address each time.
async function start() {
  server = spawn(program, ['--kept', '200', '--listen', url ? new URL(url).host : '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await within(once(createInterface(server.stdout), 'line'), 10, 'line of the server');
  url = line.match(/^listening: open (http:\S+)$/)[1];
}

async function stop(signal) {
  const gone = once(server, 'exit');
  server.kill(signal);
  return (await gone)[0];
}

await start();
const browser = await launch();

async function open(name, options, room = '') {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(20000);
  const page = await context.newPage();
  page.on('pageerror', e => complaints.push(String(e)));
  const response = await page.goto(url + room);
  assert.equal(response.status(), 200);
  await page.fill('#name', name);
  await page.click('#enter');
  await live(page);
  return page;
}

const live = page => page.waitForSelector('#state[data-state=open]');

async function say(page, text) {
  await page.fill('#text', text);
  await page.press('#text', 'Enter');
}

const texts = page => page.$$eval('#log li[data-id] .text', items => items.map(item => item.textContent));
const ids = page => page.$$eval('#log li[data-id]', items => items.map(item => +item.dataset.id));
const reads = (page, text) => page.locator('#log li[data-id] .text', { hasText: text }).first().waitFor();

async function fits(page) {
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'the page scrolls sideways');
}

let ann, bob;
check('two browsers see each other and talk', async () => {
  ann = await open('Ann', { viewport: { width: 1280, height: 800 } });
  bob = await open('Bob', { ...devices['Pixel 7'] });
  for (const page of [ann, bob]) await page.waitForSelector('#count[data-value="2"]', { state: 'attached' });
  assert.deepEqual(await ann.$$eval('#people li span:last-child', items => items.map(item => item.textContent)), ['Ann', 'Bob']);
  const talk = [
    [ann, 'Morning! Did the new gateway survive the night?'],
    [bob, 'It did. 41 days of uptime now, and the <b>chart</b> is flat.'],
    [bob, 'Schöne Grüße aus Αθήνα und Київ'],
    [ann, 'Then let us ship it. I will write the notes:\n1. rooms\n2. who is here\n3. history'],
    [ann, 'https://example.org/' + 'a-long-path-without-spaces/'.repeat(6)],
    [bob, 'Good. Coffee?'],
  ];
  for (const [page, text] of talk) {
    if (text.includes('\n')) {
      await page.fill('#text', text);
      await page.click('#send');
    } else {
      await say(page, text);
    }
    for (const other of [ann, bob]) await reads(other, text.split('\n')[0]);
  }
  for (const page of [ann, bob]) {
    assert.deepEqual(await texts(page), talk.map(([, text]) => text));
    await page.waitForFunction(() => !document.querySelector('#log li[data-n]'));
  }
  assert.equal(await ann.locator('#log li[data-mine]').count(), 3);
  assert.equal(await bob.locator('#log b b').count(), 0); // a text is a text
});

check('it fits on a desk and on a phone, by day and by night', async () => {
  await ann.screenshot({ path: `${folder}/chat-desktop.png` });
  await bob.screenshot({ path: `${folder}/chat-phone.png` });
  await bob.click('#show-people');
  await bob.waitForSelector('#people li');
  await bob.screenshot({ path: `${folder}/chat-phone-people.png` });
  await bob.click('#show-people');
  await ann.emulateMedia({ colorScheme: 'dark' });
  await ann.screenshot({ path: `${folder}/chat-dark.png` });
  await bob.emulateMedia({ colorScheme: 'dark' });
  await bob.screenshot({ path: `${folder}/chat-phone-dark.png` });
  await Promise.all([ann, bob].map(fits));
});

check('a room of its own, empty, and left again', async () => {
  await bob.click('#show-rooms');
  await bob.screenshot({ path: `${folder}/chat-phone-rooms.png` });
  await bob.fill('#new-room', 'Night shift');
  await bob.press('#new-room', 'Enter');
  await bob.waitForSelector('#rooms a[aria-current=page][href="#night-shift"]', { state: 'attached' });
  await bob.waitForSelector('#empty', { state: 'visible' });
  await ann.waitForSelector('#count[data-value="1"]');
  await say(bob, 'only here, 世界 🎉');
  await reads(bob, 'only here, 世界 🎉');
  await bob.goBack();
  await ann.waitForSelector('#count[data-value="2"]');
  await reads(bob, 'Good. Coffee?');
  assert.ok(!(await texts(ann)).includes('only here, 世界 🎉'));
});

check('older messages come on request, and the view stays', async () => {
  for (let i = 0; i < 120; i++) {
    await ann.evaluate(i => { document.querySelector('#text').value = `number ${i}`; document.querySelector('#say').requestSubmit(); }, i);
  }
  await reads(ann, 'number 119');
  await reads(bob, 'number 119');
  const carol = await open('Carol', { viewport: { width: 1280, height: 800 } });
  await reads(carol, 'number 119');
  assert.equal((await ids(carol)).length, 50);
  const first = (await ids(carol))[1];
  const place = () => carol.$eval(`#log li[data-id="${first}"]`, item => item.getBoundingClientRect().top);
  await carol.$eval('#scroll', view => { view.scrollTop = 0; });
  const before = await place();
  await carol.click('#older');
  await carol.waitForFunction(() => document.querySelectorAll('#log li[data-id]').length === 100);
  assert.ok(Math.abs(await place() - before) < 40, `${before} became ${await place()}`);
  await carol.click('#older');
  await carol.waitForFunction(() => document.querySelectorAll('#log li[data-id]').length === 126);
  assert.equal(await carol.isHidden('#older'), true);
  const all = await ids(carol);
  assert.deepEqual(all, all.map((_, at) => all[0] + at));
  assert.deepEqual(await texts(carol), await texts(ann));
  // A user who reads above sees a note of what arrives below.
  await carol.$eval('#scroll', view => { view.scrollTop = 100; });
  await carol.waitForTimeout(50);
  await say(ann, 'news');
  await carol.waitForSelector('#newer:has-text("1 new message")');
  await carol.screenshot({ path: `${folder}/chat-newer.png` });
  await carol.click('#newer');
  await carol.waitForSelector('#newer', { state: 'hidden' });
  await carol.context().close();
});

check('a page that was away gets what it missed, by its ids', async () => {
  await bob.evaluate(() => { drop(); again(1006); clearTimeout(timer); }); // what the page does when its connection is lost
  await bob.waitForSelector('#state[data-state=waiting]');
  await bob.evaluate(() => { document.querySelector('#text').value = 'said while away'; document.querySelector('#say').requestSubmit(); });
  await bob.waitForSelector('#log li[data-n].late');
  await bob.screenshot({ path: `${folder}/chat-phone-waiting.png` });
  for (let i = 0; i < 130; i++) {
    await ann.evaluate(i => { document.querySelector('#text').value = `missed ${i}`; document.querySelector('#say').requestSubmit(); }, i);
  }
  await ann.waitForFunction(() => !document.querySelector('#log li[data-n]'));
  await bob.click('#now');
  await live(bob);
  await reads(bob, 'said while away');
  await bob.waitForFunction(() => !document.querySelector('[data-hole]'));
  await reads(ann, 'said while away');
  await reads(bob, 'missed 129');
  assert.deepEqual(await texts(bob), await texts(ann));
});

check('the server stops and starts again: what was sent meanwhile arrives, once', async () => {
  await recordTexts(ann, '#state');
  assert.equal(await stop('SIGTERM'), 0);
  for (const page of [ann, bob]) await page.waitForSelector('#state[data-state=waiting]');
  await recorded(ann, /the server restarts/);
  await say(ann, 'is it back?');
  await ann.waitForSelector('#log li[data-n].late');
  await ann.screenshot({ path: `${folder}/chat-waiting.png` });
  await start();
  for (const page of [ann, bob]) {
    await live(page);
    await reads(page, 'is it back?');
  }
  await ann.waitForFunction(() => !document.querySelector('#log li[data-n]'));
  assert.equal((await texts(bob)).filter(text => text === 'is it back?').length, 1);
  // The messages were in the memory of the server: that some are gone is said.
  await bob.waitForSelector('[data-hole=lost]');
  await stop('SIGKILL');
  await ann.waitForSelector('#state[data-state=waiting]');
  await start();
  await live(ann);
  await live(bob);
  await say(bob, 'and again');
  await reads(ann, 'and again');
});

check('the browser complained of nothing', async () => {
  assert.deepEqual(complaints, []);
});

await run(async () => {
  await browser.close();
  await stop('SIGKILL');
});
