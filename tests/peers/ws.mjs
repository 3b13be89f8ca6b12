#!/usr/bin/env node
// npm ws, Node's usual WebSocket client, against the echo server.
//   ws.mjs ws://127.0.0.1:PORT
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import WebSocket from 'ws';
import { check, run, within } from './check.mjs';

const base = process.argv[2].replace(/\/$/, '');

async function connect(path = '/ws', protocols = []) {
  const ws = new WebSocket(base + path, protocols, { perMessageDeflate: false, handshakeTimeout: 10000 });
  // Messages wait here, so that none is missed between two reads.
  ws.inbox = [];
  ws.on('message', (data, isBinary) => {
    ws.inbox.push(isBinary ? data : data.toString());
    ws.emit('filled');
  });
  await within(once(ws, 'open'), 15, 'handshake');
  return ws;
}

async function receive(ws) {
  if (!ws.inbox.length) await within(once(ws, 'filled'), 20, 'message');
  return ws.inbox.shift();
}

async function echo(ws, data) {
  ws.send(data);
  assert.deepEqual(await receive(ws), data);
}

async function close(ws, code = 1000, reason = '') {
  const closed = once(ws, 'close');
  ws.close(code, reason);
  assert.equal((await within(closed, 5, 'close'))[0], code);
}

async function refused(path) {
  const ws = new WebSocket(base + path, { perMessageDeflate: false, handshakeTimeout: 10000 });
  ws.on('error', () => {}); // terminate() of a refused one reports an error: nothing new
  const [, response] = await within(once(ws, 'unexpected-response'), 15, 'refusal');
  ws.terminate();
  return response.statusCode;
}

check('text and binary are echoed, empty included', async () => {
  const ws = await connect();
  for (const data of ['Hello', '', 'grüße, 世界 🎉', 'x'.repeat(65535), Buffer.alloc(0), randomBytes(126), Buffer.from('Ping')]) {
    await echo(ws, data);
  }
  await close(ws);
});

check('1 MiB is echoed', async () => {
  const ws = await connect();
  await echo(ws, randomBytes(1 << 20));
  await echo(ws, 'é'.repeat(1 << 19));
  await close(ws);
});

check('500 messages at once come back in order', async () => {
  const ws = await connect();
  const sent = Array.from({ length: 500 }, (_, i) => `message ${i}`);
  for (const text of sent) ws.send(text);
  for (const text of sent) assert.equal(await receive(ws), text);
  await close(ws);
});

check('fragments are echoed, with a ping between them', async () => {
  const ws = await connect();
  const pong = once(ws, 'pong');
  ws.send('one, ', { fin: false });
  ws.ping('between');
  ws.send('two, ', { fin: false });
  ws.send('three', { fin: true });
  assert.equal((await within(pong, 5, 'pong'))[0].toString(), 'between');
  assert.equal(await receive(ws), 'one, two, three');
  await close(ws);
});

check('close comes back with its code', async () => {
  for (const code of [1000, 1001, 3000, 4999]) await close(await connect(), code, 'bye');
});

check('subprotocol: one agreed', async () => {
  for (const [offer, agreed] of [[['echo'], 'echo'], [['x', 'chat'], 'chat'], [['echo', 'chat'], 'chat']]) {
    const ws = await connect('/ws', offer);
    assert.equal(ws.protocol, agreed);
    await close(ws);
  }
});

check('/auth: 401 without the token, a welcome with it; 404 elsewhere', async () => {
  assert.equal(await refused('/auth'), 401);
  assert.equal(await refused('/nowhere'), 404);
  const ws = await connect('/auth?token=valid');
  assert.equal(await receive(ws), 'Welcome to the WebSocket Echo Server (post-handshake)!');
  await echo(ws, 'after');
  await close(ws);
});

check('/ws_partial: 200 bytes come back whole', async () => {
  const ws = await connect('/ws_partial');
  await echo(ws, randomBytes(200));
  await echo(ws, 'abcdefgh'.repeat(25));
  await close(ws);
});

check('"Trigger async": "Async data" later; "Ping": a protocol ping', async () => {
  const ws = await connect();
  ws.send('Trigger async');
  assert.equal(await receive(ws), 'Async data');
  const ping = once(ws, 'ping');
  ws.send('Ping');
  await within(ping, 5, 'ping');
  await echo(ws, 'nothing was left behind');
  await close(ws);
});

await run();
