#!/usr/bin/env python3
"""The echo_client example against servers on PyPI websockets and aiohttp, and against servers that answer wrongly.

  reverse.py PATH-OF-ECHO-CLIENT              over TCP
  reverse.py PATH-OF-ECHO-CLIENT --pki DIR    over TLS: DIR has cert.pem and key.pem of localhost, and ca.pem

echo_client URL sends each line of its input as TEXT, echo_client URL --file F sends F as BINARY; both print what they
receive, close with 1000 at the end and exit 0; they exit otherwise when there was no handshake.
"""
import asyncio
import logging
import os
import ssl
import sys
import tempfile

from aiohttp import BasicAuth, WSMsgType, web
from websockets.asyncio.server import basic_auth, serve
from websockets.http11 import Response
from websockets.datastructures import Headers

from check import check, equal, run
from wire import accept_value

logging.disable()  # the library's own word on connections that end early
CLIENT = os.path.abspath(sys.argv[1])
PKI = sys.argv[3] if sys.argv[2:3] == ["--pki"] else None
TCP = PKI is None


async def client(port, *args, lines=(), after=None, url="ws://127.0.0.1:%d/ws"):
    """Run it to its end, its input given once `after` is set: (exit code, what it printed on both streams)."""
    process = await asyncio.create_subprocess_exec(
        CLIENT, url % port, *args, stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    try:
        if after:
            await asyncio.wait_for(after.wait(), 10)
        text = "".join(line + "\n" for line in lines).encode()
        out, _ = await asyncio.wait_for(process.communicate(text), 20)
        return process.returncode, out.decode()
    finally:
        if process.returncode is None:
            process.kill()


class Server:
    """An echo server that remembers what it got; `first` runs before the echo."""

    def __init__(self, first=None, **options):
        self.first, self.options, self.got, self.codes = first, options, [], []

    async def handle(self, ws):
        if self.first:
            await self.first(ws)
        try:
            async for message in ws:
                self.got.append(message)
                await ws.send(message)
        finally:  # the client may close before it has every echo
            self.codes.append(ws.close_code)

    async def __aenter__(self):
        self.server = await serve(self.handle, "127.0.0.1", 0, compression=None, max_size=1 << 25, **self.options)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        await self.server.wait_closed()


@check("lines are sent as text, echoed and printed", TCP)
async def lines():
    async with Server() as server:
        sent = ["Hello", "grüße, 世界 🎉", "x" * 5000, "last"]
        code, out = await client(server.port, lines=sent)
    equal(server.got, sent)
    for line in sent:
        assert line in out, "%r... is not in the output: %r" % (line[:20], out[-500:])
    equal((code, server.codes), (0, [1000]))


@check("a file is sent as binary", TCP)
async def file():
    for size in (0, 1, 125, 65536, 3 << 20):
        with tempfile.NamedTemporaryFile() as f:
            data = os.urandom(size)
            f.write(data)
            f.flush()
            async with Server() as server:
                code, out = await client(server.port, "--file", f.name)
        equal([len(m) for m in server.got], [size])
        equal((server.got == [data], code, server.codes), (True, 0, [1000]))


@check("pings are answered, fragments are assembled", TCP)
async def control():
    done = asyncio.Event()

    async def first(ws):
        await asyncio.wait_for(await ws.ping(b"q" * 125), 5)
        await ws.send(["fragments ", "that make ", "one text"])
        await asyncio.wait_for(await ws.ping(b""), 5)
        done.set()
    async with Server(first) as server:
        code, out = await client(server.port, lines=["Hello"], after=done)
    assert "fragments that make one text" in out, out
    equal((server.got, code, server.codes), (["Hello"], 0, [1000]))


@check("the server's close ends the client, which prints code and reason", TCP)
async def closed():
    async def first(ws):
        await ws.close(4000, "enough")
    async with Server(first) as server:
        _, out = await client(server.port, lines=["Hello"])
    assert "4000" in out and "enough" in out, out


@check("a refusal is an error that names the status", TCP)
async def refused():
    for status in (401, 404, 503):
        async with Server(process_request=lambda c, r: c.respond(status, "no\n")) as server:
            code, out = await client(server.port, lines=["Hello"])
        assert code and str(status) in out, (code, out)
        equal(server.got, [])


async def answer(reply):
    """Serve one raw reply, made from the request's key; returns the client's end."""
    async def handle(reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(h.split(":")[1].strip() for h in head.split("\r\n") if h.lower().startswith("sec-websocket-key:"))
        writer.write(reply(accept_value(key)).encode("latin-1"))
        await writer.drain()
        writer.close()
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        return await client(server.sockets[0].getsockname()[1], lines=["Hello"])
    finally:
        server.close()


@check("a wrong response to the handshake is an error", TCP)
async def wrong():
    right = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
    for reply in (lambda accept: right % (accept[:-2] + "A=") + "\r\n",
                  lambda accept: right.replace("Upgrade: websocket\r\n", "") % accept + "\r\n",
                  lambda accept: right.replace("Connection: Upgrade\r\n", "") % accept + "\r\n",
                  lambda accept: right % accept + "Sec-WebSocket-Protocol: unasked\r\n\r\n",
                  lambda accept: right % accept + "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n",
                  lambda accept: right.replace("101 Switching Protocols", "200 OK") % accept + "\r\n",
                  lambda accept: right[:40], lambda accept: "", lambda accept: "\x81\x05Hello\r\n\r\n"):
        code, out = await answer(reply)
        assert code, "it took %r for a handshake: %s" % (reply("ACCEPT"), out)


@check("a first frame in one packet with the 101 is not lost", TCP)
async def bundled():
    _, out = await answer(lambda accept: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: %s\r\n\r\n\x81\x07bundled\x88\x02\x03\xe8" % accept)
    assert "bundled" in out, out


@check("a port on which nobody listens is an error at once", TCP)
async def nobody():
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    code, out = await client(port, lines=["Hello"])
    assert code, out


async def moved(connection, request):
    """/ws is at /new, which somebody else may not have been."""
    if request.path == "/ws":
        return Response(307, "Temporary Redirect", Headers({"Location": "/new?a=b", "Content-Length": "0"}))


@check("a redirect is followed only by option", TCP)
async def redirected():
    async with Server(process_request=moved) as server:
        code, out = await client(server.port, lines=["Hello"])
        assert code and "307" in out, (code, out)
        code, out = await client(server.port, "--redirects", "1", lines=["Hello"])
    equal((server.got, code), (["Hello"], 0))


@check("websockets and aiohttp read user and password of the URL", TCP)
async def authorized():
    url = "ws://J%%C3%%BCrgen:pass%%3Aword@127.0.0.1:%d/ws"
    guard = basic_auth(realm="test", credentials=("Jürgen", "pass:word"))
    async with Server(process_request=guard) as server:
        code, out = await client(server.port, lines=["Hello"], url=url)
        equal((server.got, code), (["Hello"], 0))
        code, out = await client(server.port, lines=["Hello"])
        assert code and "401" in out, (code, out)

    async def handle(request):
        login = BasicAuth.decode(request.headers["Authorization"], "utf-8")
        equal((login.login, login.password), ("Jürgen", "pass:word"))
        return await echo(request)
    async with Application(handle) as server:
        code, out = await client(server.port, lines=["Hello"], url=url)
    equal((server.got, code), (["Hello"], 0))


@check("a subprotocol is agreed on", TCP)
async def subprotocol():
    async with Server(subprotocols=["new", "old"]) as server:
        code, out = await client(server.port, "--protocol", "old", "--protocol", "older", lines=["Hello"])
    assert code == 0 and "open, protocol old" in out, (code, out)


class Application:
    """The same on aiohttp, with one handler for all paths."""

    def __init__(self, handle, **options):
        self.handle, self.options, self.got = handle, options, []

    async def __aenter__(self):
        app = web.Application()
        app["got"] = self.got
        app.router.add_get("/{path:.*}", self.handle)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0, **self.options)
        await site.start()
        self.port = self.runner.addresses[0][1]
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()


async def echo(request):
    ws = web.WebSocketResponse(compress=False, max_msg_size=1 << 25)
    await ws.prepare(request)
    async for message in ws:
        request.app["got"].append(message.data)
        await (ws.send_str if message.type == WSMsgType.TEXT else ws.send_bytes)(message.data)
    return ws


@check("aiohttp echoes lines, redirects and refuses", TCP)
async def application():
    async def handle(request):
        if request.path == "/ws":
            raise web.HTTPFound("/new")
        if request.path == "/none":
            raise web.HTTPForbidden(text="not you")
        return await echo(request)
    sent = ["Hello", "x" * 70000]
    async with Application(handle) as server:
        code, out = await client(server.port, "--redirects", "1", lines=sent)
        equal((server.got, code), (sent, 0))
        code, out = await client(server.port, url="ws://127.0.0.1:%d/none")
        assert code and "403" in out and "not you" in out, (code, out)


def tls():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(PKI + "/cert.pem", PKI + "/key.pem")
    return context


@check("over TLS: lines and a file, with TLS 1.2 and 1.3", not TCP)
async def over_tls():
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = tls()
        context.minimum_version = context.maximum_version = version
        for server in (Server(ssl=context), Application(echo, ssl_context=context)):
            async with server:
                for url in ("wss://localhost:%d/ws", "wss://127.0.0.1:%d/ws"):
                    code, out = await client(server.port, "--tls-ca", PKI + "/ca.pem", lines=["Hello"], url=url)
                    equal((code, server.got), (0, ["Hello"]))
                    server.got.clear()
                with tempfile.NamedTemporaryFile() as f:
                    f.write(os.urandom(3 << 20))
                    f.flush()
                    code, out = await client(
                        server.port, "--tls-ca", PKI + "/ca.pem", "--file", f.name, url="wss://localhost:%d/ws")
                equal((code, [len(m) for m in server.got]), (0, [3 << 20]))


@check("over TLS: a redirect to ws is not followed", not TCP)
async def downgraded():
    async def handle(request):
        raise web.HTTPFound("ws://localhost:1/")
    async with Application(handle, ssl_context=tls()) as server:
        code, out = await client(
            server.port, "--tls-ca", PKI + "/ca.pem", "--redirects", "9", url="wss://localhost:%d/ws")
    assert code and "wss to ws" in out, (code, out)


run()
