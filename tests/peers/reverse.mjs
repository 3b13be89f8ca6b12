#!/usr/bin/env node
// The echo_client example against a server on npm ws.
//   reverse.mjs PATH-OF-ECHO-CLIENT
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocketServer } from 'ws';
import { check, run, within } from './check.mjs';

const binary = process.argv[2];

// Serve one connection to echo_client; returns what either side saw.
async function serve(input, args = [], onConnection = () => {}) {
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });
  await once(server, 'listening');
  const got = [];
  const closed = new Promise(resolve => server.on('connection', ws => {
    ws.on('message', (data, isBinary) => {
      got.push(isBinary ? data : data.toString());
      ws.send(data, { binary: isBinary });
    });
    ws.on('error', e => got.push(e));
    ws.on('close', resolve);
    onConnection(ws);
  }));
  const child = spawn(binary, [`ws://127.0.0.1:${server.address().port}/`, ...args]);
  let out = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', data => { out += data; });
  child.stdin.on('error', () => {}); // it may have ended before it read everything
  child.stdin.end(input);
  try {
    const [exit] = await within(once(child, 'close'), 20, 'end of echo_client');
    return { got, out, exit, code: await within(closed, 5, 'close') };
  } finally {
    child.kill();
    server.close();
  }
}

check('lines are echoed', async () => {
  const lines = Array.from({ length: 200 }, (_, i) => `line ${i} 🎉`);
  const { got, out, exit, code } = await serve(lines.join('\n') + '\n');
  assert.deepEqual(got, lines);
  for (const line of lines) assert.ok(out.includes(line), `${line} was not printed`);
  assert.deepEqual([exit, code], [0, 1000]);
});

check('a file is echoed', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sansocket-'));
  try {
    const data = randomBytes(1 << 20), file = join(folder, 'data');
    writeFileSync(file, data);
    const { got, exit, code } = await serve('', ['--file', file]);
    assert.deepEqual(got.map(m => m.length), [data.length]);
    assert.ok(data.equals(got[0]));
    assert.deepEqual([exit, code], [0, 1000]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

check('a ping between fragments is answered', async () => {
  let pong;
  const { out, exit, code } = await serve('Hello\n', [], ws => {
    ws.on('pong', data => { pong = data.toString(); });
    ws.send('one, ', { fin: false });
    ws.ping('between');
    ws.send('two', { fin: true });
  });
  assert.equal(pong, 'between');
  assert.ok(out.includes('one, two'), out);
  assert.deepEqual([exit, code], [0, 1000]);
});

await run();
