// Echo servers with compression on: `node servers.mjs ws`, `bun servers.mjs uWebSockets-shared|uWebSockets-dedicated`.
const name = process.argv[2];
if (name === 'ws') {
  const { WebSocketServer } = await import('ws');
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: true });
  server.on('connection', ws => ws.on('message', (data, binary) => ws.send(data, { binary })));
  server.on('listening', () => console.log(server.address().port));
} else {
  const kind = name.split('-')[1];
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch: (request, server) => server.upgrade(request) ? undefined : new Response('no', { status: 400 }),
    websocket: {
      perMessageDeflate: { compress: kind === 'dedicated' ? '256KB' : kind, decompress: kind },
      idleTimeout: 0,
      message: (ws, message) => ws.send(message, true),
    },
  });
  console.log(server.port);
}
