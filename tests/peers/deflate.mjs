#!/usr/bin/env node
// npm ws, Chromium, Firefox and Bun with permessage-deflate, for deflate.py. Bun runs this file itself.
//   deflate.mjs ws|chromium|firefox|bun URL     the samples of deflate.py, echoed
//   deflate.mjs serve|serve-bun                 an echo server, which prints its port
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import WebSocket, { WebSocketServer } from 'ws';

const record = '{"name":"é€𐍈","value":1234,"tags":["a","b"]},';
const samples = () => ['', 'short', record.repeat(20), record.repeat(400), record.repeat(5000), randomBytes(10_000), Buffer.alloc(300_000)];
const [peer, url] = process.argv.slice(2);

if (peer === 'serve') {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: { threshold: 0 } });
  server.on('connection', ws => ws.on('message', (data, binary) => ws.send(data, { binary })));
  await once(server, 'listening');
  console.log(server.address().port);
} else if (peer === 'serve-bun') {
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch: (request, server) => server.upgrade(request) ? undefined : new Response('no', { status: 400 }),
    websocket: {
      perMessageDeflate: { compress: 'dedicated', decompress: 'dedicated' },
      maxPayloadLength: 64 << 20,
      backpressureLimit: 64 << 20,
      message: (ws, message) => ws.send(message, true),
    },
  });
  console.log(server.port);
} else if (peer === 'bun') {
  console.log(`bun: ${await talk([url, record])}`);
  process.exit();
} else if (peer === 'ws') {
  const ws = new WebSocket(url, { perMessageDeflate: { threshold: 0 } });
  await once(ws, 'open');
  assert.match(ws.extensions, /permessage-deflate/);
  for (const sample of samples()) {
    ws.send(sample);
    const [data, binary] = await once(ws, 'message');
    assert.ok(binary ? data.equals(sample) : data.toString() === sample);
  }
  ws.close();
  await once(ws, 'close');
} else if (peer === 'chromium') {
  const { launch } = await import('./browser.mjs');
  await inPage(await launch());
} else {
  const { default: puppeteer } = await import('puppeteer-core');
  await inPage(await puppeteer.launch({ browser: 'firefox', executablePath: '/usr/bin/firefox-esr', headless: true }));
}

// Sends the samples and compares their echoes. Runs in a page, too: it uses nothing of this file.
async function talk([url, record]) {
  const noise = new Uint8Array(10_000);
  crypto.getRandomValues(noise);
  const samples = ['', 'short', record.repeat(20), record.repeat(400), record.repeat(5000), noise, new Uint8Array(300_000)];
  const ws = new globalThis.WebSocket(url);
  ws.binaryType = 'arraybuffer';
  await new Promise((open, failed) => { ws.onopen = open; ws.onerror = () => failed(new Error('no connection')); });
  for (const sample of samples) {
    const echo = new Promise((done, failed) => {
      ws.onmessage = ({ data }) => done(data);
      ws.onclose = ({ code }) => failed(new Error(`closed with ${code}`));
    });
    ws.send(sample);
    const data = await echo;
    const same = typeof data === 'string' ? data === sample
      : data.byteLength === sample.length && new Uint8Array(data).every((byte, i) => byte === sample[i]);
    if (!same) throw new Error('the echo differs');
  }
  const closed = new Promise(done => { ws.onclose = done; });
  ws.close(1000);
  await closed;
  return ws.extensions || 'no extension';
}

async function inPage(browser) {
  const page = await browser.newPage();
  // A page of the server, as the policy of origins wants it.
  await page.goto(new URL('/', url.replace(/^ws/, 'http')).href).catch(() => {});
  console.log(`${peer}: ${await page.evaluate(talk, [url, record])}`);
  await browser.close();
}
