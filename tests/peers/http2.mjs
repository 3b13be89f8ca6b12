#!/usr/bin/env node
// Node's HTTP/2 client against an echo server: the extended CONNECT of RFC 8441, frames by hand.
//   http2.mjs https://127.0.0.1:PORT CA-FILE
//   http2.mjs http://127.0.0.1:PORT            HTTP/2 without TLS
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import { check, run, within } from './check.mjs';

const base = process.argv[2], ca = process.argv[3];
const TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;
const open = [];

async function connect() {
  const session = http2.connect(base, { ca: ca && readFileSync(ca), settings: { initialWindowSize: 65535 } });
  open.push(session);
  const [settings] = await within(once(session, 'remoteSettings'), 10, 'settings');
  assert.equal(settings.enableConnectProtocol, true);
  return session;
}

function ask(session, fields) {
  return session.request({
    ':method': 'CONNECT', ':protocol': 'websocket', ':scheme': new URL(base).protocol.slice(0, -1), ':path': '/ws',
    ':authority': new URL(base).host, 'sec-websocket-version': '13', ...fields,
  }, { endStream: false });
}

async function status(stream) {
  const [headers] = await within(once(stream, 'response'), 10, 'response');
  return headers;
}

async function refused(session, fields) {
  const stream = ask(session, fields);
  const headers = await status(stream);
  stream.close();
  return headers[':status'];
}

// A frame of a client.
function frame(opcode, payload, fin = true) {
  const data = Buffer.from(payload), mask = randomBytes(4);
  const short = data.length < 126 ? data.length : data.length < 65536 ? 126 : 127;
  const head = Buffer.alloc(2 + (short === 126 ? 2 : short === 127 ? 8 : 0));
  head[0] = (fin ? 0x80 : 0) | opcode;
  head[1] = 0x80 | short;
  if (short === 126) head.writeUInt16BE(data.length, 2);
  if (short === 127) head.writeBigUInt64BE(BigInt(data.length), 2);
  return Buffer.concat([head, mask, data.map((byte, i) => byte ^ mask[i % 4])]);
}

class Socket {
  constructor(stream) {
    this.stream = stream;
    this.read = Buffer.alloc(0);
    this.ended = once(stream, 'end');
    stream.on('data', data => { this.read = Buffer.concat([this.read, data]); stream.emit('more'); });
  }

  static async open(session, fields = {}) {
    const stream = ask(session, fields);
    const headers = await status(stream);
    assert.equal(headers[':status'], 200);
    const socket = new Socket(stream);
    socket.protocol = headers['sec-websocket-protocol'];
    return socket;
  }

  send(opcode, payload, fin) { this.stream.write(frame(opcode, payload, fin)); }

  async bytes(count) {
    while (this.read.length < count) await within(once(this.stream, 'more'), 20, 'data');
    const bytes = this.read.subarray(0, count);
    this.read = this.read.subarray(count);
    return bytes;
  }

  async message() {
    let payload = Buffer.alloc(0), opcode;
    for (;;) {
      const [first, second] = await this.bytes(2);
      assert.equal(second & 0x80, 0, 'a server masks nothing');
      let length = second & 0x7F;
      if (length === 126) length = (await this.bytes(2)).readUInt16BE();
      else if (length === 127) length = Number((await this.bytes(8)).readBigUInt64BE());
      opcode ||= first & 0xF;
      payload = Buffer.concat([payload, await this.bytes(length)]);
      if (first & 0x80) return [opcode, payload];
    }
  }

  async expect(opcode, payload) {
    const [got, data] = await this.message();
    assert.equal(got, opcode);
    assert.equal(data.equals(Buffer.from(payload)), true, 'the payload differs');
  }

  // The closing handshake; then the server ends the stream.
  async close(code) {
    const body = Buffer.alloc(2);
    body.writeUInt16BE(code);
    this.send(CLOSE, body);
    await this.expect(CLOSE, body);
    await within(this.ended, 5, 'end of the stream');
    this.stream.end();
  }
}

check('text, binary and 1 MiB are echoed, a Ping is answered, a close comes back', async () => {
  const socket = await Socket.open(await connect());
  for (const [opcode, data] of [[TEXT, 'grüße, 世界 🎉'], [TEXT, ''], [BINARY, randomBytes(70000)], [BINARY, randomBytes(1 << 20)]]) {
    socket.send(opcode, data);
    await socket.expect(opcode, data);
  }
  socket.send(TEXT, 'one, ', false);
  socket.send(PING, 'between');
  socket.send(0, 'two');
  await socket.expect(PONG, 'between');
  await socket.expect(TEXT, 'one, two');
  await socket.close(4000);
});

check('the subprotocol that the server prefers is agreed upon', async () => {
  const session = await connect();
  const socket = await Socket.open(session, { 'sec-websocket-protocol': 'x, echo, chat' });
  assert.equal(socket.protocol, 'chat');
  await socket.close(1000);
  assert.equal((await Socket.open(session, { 'sec-websocket-protocol': 'x' })).protocol, undefined);
});

check('many WebSockets and a request share a connection', async () => {
  const session = await connect();
  const sockets = await Promise.all(Array.from({ length: 50 }, () => Socket.open(session)));
  const page = session.request({ ':path': '/' });
  assert.equal((await status(page))[':status'], 200);
  page.resume();
  for (const [i, socket] of sockets.entries()) socket.send(TEXT, `socket ${i}`);
  for (const [i, socket] of sockets.entries()) await socket.expect(TEXT, `socket ${i}`);
  sockets[0].stream.close(http2.constants.NGHTTP2_CANCEL); // one disconnects: the others remain
  for (const socket of sockets.slice(1)) {
    socket.send(TEXT, 'still here');
    await socket.expect(TEXT, 'still here');
    await socket.close(1000);
  }
});

check('a frame that breaks the protocol is answered by close 1002', async () => {
  const socket = await Socket.open(await connect());
  socket.stream.write(Buffer.from([0x81, 1, 0x41])); // not masked
  await socket.expect(CLOSE, Buffer.from([3, 234]));
  socket.stream.end();
  await within(socket.ended, 5, 'end of the stream');
});

check('what is no correct upgrade is refused', async () => {
  const session = await connect();
  assert.equal(await refused(session, { origin: 'https://other.example' }), 403);
  assert.equal(await refused(session, { ':protocol': 'other' }), 501);
  assert.equal(await refused(session, { 'sec-websocket-version': '8' }), 400);
  const get = session.request({ ':path': '/ws' });
  assert.equal((await status(get))[':status'], 405);
  get.resume();
  assert.equal(await refused(session, { ':path': '/nowhere' }), 404);
  await (await Socket.open(session, { origin: new URL(base).origin })).close(1000);
});

await run(() => open.forEach(session => session.destroy()));
