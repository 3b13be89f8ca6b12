// uWebSockets through Bun: the echo server, and one that sends to all.
//
//     bun server.js [--tls CERTIFICATE KEY]
const [option, certificate, key] = process.argv.slice(2);
const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  tls: option === "--tls" ? { cert: Bun.file(certificate), key: Bun.file(key) } : undefined,
  fetch(request, server) {
    const all = new URL(request.url).pathname === "/all";
    return server.upgrade(request, { data: { all } }) ? undefined : new Response("no", { status: 400 });
  },
  websocket: {
    perMessageDeflate: false,
    maxPayloadLength: 64 << 20,
    backpressureLimit: 256 << 20,
    idleTimeout: 0,
    publishToSelf: true,
    open(ws) {
      if (ws.data.all) ws.subscribe("all");
    },
    message(ws, message) {
      if (ws.data.all) ws.publish("all", message);
      else ws.send(message);
    },
  },
});
console.log(server.port);
