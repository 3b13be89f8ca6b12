#!/usr/bin/env python3
"""The echo_client example against a server on PyPI websockets, and against servers that answer wrongly.

  reverse.py PATH-OF-ECHO-CLIENT

echo_client URL sends each line of its input as TEXT, echo_client URL --file F sends F as BINARY; both print what they
receive, close with 1000 at the end and exit 0; they exit otherwise when there was no handshake.
"""
import asyncio
import logging
import os
import sys
import tempfile

from websockets.asyncio.server import serve

from check import check, equal, run
from wire import accept_value

logging.disable()  # the library's own word on connections that end early
CLIENT = os.path.abspath(sys.argv[1])


async def client(port, *args, lines=(), after=None):
    """Run it to its end, its input given once `after` is set: (exit code, what it printed on both streams)."""
    process = await asyncio.create_subprocess_exec(
        CLIENT, "ws://127.0.0.1:%d/ws" % port, *args, stdin=asyncio.subprocess.PIPE,
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


@check("lines go out as text, come back and are printed")
async def lines():
    async with Server() as server:
        sent = ["Hello", "grüße, 世界 🎉", "x" * 5000, "last"]
        code, out = await client(server.port, lines=sent)
    equal(server.got, sent)
    for line in sent:
        assert line in out, "%r... is not in the output: %r" % (line[:20], out[-500:])
    equal((code, server.codes), (0, [1000]))


@check("a file goes out as binary")
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


@check("pings are answered, fragments put together")
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


@check("the server's close ends it, and its code and reason are told")
async def closed():
    async def first(ws):
        await ws.close(4000, "enough")
    async with Server(first) as server:
        _, out = await client(server.port, lines=["Hello"])
    assert "4000" in out and "enough" in out, out


@check("a refusal is an error that names the status")
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


@check("a wrong answer to the handshake is an error")
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


@check("a first frame in one packet with the 101 is not lost")
async def bundled():
    _, out = await answer(lambda accept: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: %s\r\n\r\n\x81\x07bundled\x88\x02\x03\xe8" % accept)
    assert "bundled" in out, out


@check("nobody listens: an error at once")
async def nobody():
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    code, out = await client(port, lines=["Hello"])
    assert code, out


run()
