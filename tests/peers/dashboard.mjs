#!/usr/bin/env node
// Chromium on the dashboard, through the ids that its page documents; it is started here, as it has to be started again.
//   dashboard.mjs PROGRAM [FOLDER-FOR-SCREENSHOTS]
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
let device, url;

// On the same address each time.
async function start() {
  device = spawn(program, ['--listen', url ? new URL(url).host : '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await within(once(createInterface(device.stdout), 'line'), 10, 'line of the device');
  url = line.match(/^listening: open (http:\S+)$/)[1];
}

async function stop() {
  const gone = once(device, 'exit');
  device.kill('SIGKILL');
  await gone;
}

await start();
const browser = await launch();

async function open(options) {
  const context = await browser.newContext(options);
  context.setDefaultTimeout(20000);
  const page = await context.newPage();
  page.on('pageerror', e => complaints.push(String(e)));
  page.on('dialog', dialog => dialog.accept());
  const response = await page.goto(url);
  assert.equal(response.status(), 200);
  await live(page);
  return page;
}

const live = page => page.waitForSelector('#state[data-state=open]');
const data = (page, selector) => page.$eval(selector, e => e.dataset.value);
const above = (page, selector, least) =>
  page.waitForFunction(([selector, least]) => +document.querySelector(selector).dataset.value > least, [selector, least]);
const below = (page, selector, most) =>
  page.waitForFunction(([selector, most]) => +document.querySelector(selector).dataset.value < most, [selector, most]);

async function fits(page) {
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, 'the page scrolls sideways');
}

let first, second;
check('values come and move', async () => {
  first = await open({ viewport: { width: 1280, height: 800 } });
  const names = await first.$$eval('.channel', cards => cards.map(card => card.dataset.name));
  assert.ok(names.includes('Processor') && names.includes('Free memory'), names);
  await first.waitForFunction(() => [...document.querySelectorAll('.channel')].every(card => card.dataset.value !== undefined));
  const seen = await data(first, '.channel[data-name="Free memory"]');
  assert.ok(seen > 0);
  await first.waitForFunction(seen => document.querySelector('.channel[data-name="Free memory"]').dataset.value !== seen, seen);
  const uptime = +await data(first, '#uptime');
  await above(first, '#uptime', uptime);
});

check('the plots are drawn', async () => {
  await first.waitForTimeout(500);
  const colours = await first.$$eval('canvas', plots => plots.map(plot => {
    const { data } = plot.getContext('2d').getImageData(0, 0, plot.width, plot.height);
    return new Set(new Uint32Array(data.buffer)).size;
  }));
  assert.ok(colours.length > 0 && colours.every(count => count > 10), `colours: ${colours}`);
});

check('a client chooses how often', async () => {
  await first.selectOption('#interval', '20');
  await above(first, '#rate', 15);
  await first.selectOption('#interval', '1000');
  await below(first, '#rate', 3);
  await first.selectOption('#interval', '50');
});

check('what one client changes another sees', async () => {
  second = await open({ ...devices['Pixel 7'] });
  assert.equal(await second.isChecked('#led'), false);
  await first.check('#led');
  await second.waitForSelector('#led:checked');
  await second.fill('#pwm', '83');
  await first.waitForFunction(() => document.querySelector('#pwm').value === '83');
  assert.equal(await first.textContent('#duty'), '83 %');
  // And who comes later.
  const third = await open({ colorScheme: 'dark', viewport: { width: 1280, height: 800 } });
  await third.waitForSelector('#led:checked:enabled');
  assert.equal(await third.inputValue('#pwm'), '83');
  await third.waitForTimeout(6000); // so that there is something to look at
  await third.screenshot({ path: `${folder}/dashboard-dark.png` });
  await first.hover('canvas >> nth=1', { position: { x: 320, y: 60 } });
  await first.waitForTimeout(200);
  await first.screenshot({ path: `${folder}/dashboard-desktop.png` });
  await second.evaluate(() => scrollTo(0, 0));
  await second.screenshot({ path: `${folder}/dashboard-phone.png`, fullPage: true });
  await Promise.all([first, second, third].map(fits));
  await third.context().close();
});

check('nonsense is ignored, and a long message refused', async () => {
  const code = await second.evaluate(() => new Promise((resolve, reject) => {
    const ws = new WebSocket(location.origin.replace('http', 'ws') + '/ws');
    ws.onopen = () => {
      for (const text of ['led 7', 'led', 'led 0 ', 'led 99999999999999999999', 'pwm -1', 'pwm 101', 'interval 1', 'Reboot', '', ' ']) ws.send(text);
      ws.send(new Uint8Array([1, 2, 3]));
      ws.send('pwm 84');
    };
    let states = [];
    ws.onmessage = event => {
      const message = JSON.parse(event.data);
      if (message.boot) states.push(message);
      if (message.pwm === 84) ws.send('x'.repeat(65));
    };
    ws.onclose = event => resolve([event.code, states]);
  }));
  assert.deepEqual(code, [1009, [{ led: 1, pwm: 83, boot: 1 }, { led: 1, pwm: 84, boot: 1 }]]);
});

check('the device restarts, and its clients come back', async () => {
  await recordTexts(first, '#state');
  await first.click('#reboot');
  await recorded(first, /restarts/);
  await first.screenshot({ path: `${folder}/dashboard-waiting.png` });
  for (const page of [first, second]) {
    await live(page);
    await page.waitForSelector('#boots[data-value="2"]');
    await page.waitForSelector('#led:enabled:not(:checked)');
    assert.ok(await data(page, '#connections') > 0);
  }
  await above(first, '#rate', 12); // what it had chosen
});

check('the server dies and comes again', async () => {
  await stop();
  await first.waitForSelector('#state[data-state=waiting]');
  assert.equal(await first.isDisabled('#led'), true);
  await start();
  await live(first);
  await first.waitForSelector('#boots[data-value="1"]');
  const uptime = +await data(first, '#uptime');
  await above(first, '#uptime', uptime);
  await first.check('#led:enabled');
  await live(second);
  await second.waitForSelector('#led:checked');
});

check('a device that falls silent is noticed', async () => {
  device.kill('SIGSTOP');
  try {
    await first.waitForSelector('#state[data-state=waiting]');
  } finally {
    device.kill('SIGCONT');
  }
  await live(first);
});

check('the browser complained of nothing', async () => {
  assert.deepEqual(complaints, []);
});

await run(async () => {
  await browser.close();
  await stop();
});
