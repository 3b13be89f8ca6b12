#!/usr/bin/env python3
"""permessage-deflate with other libraries, through a proxy that counts the frames with RSV1.

  deflate.py server ADDRESS [--path /ws] [--least N | --plain]   ws, Chromium, Firefox, Bun, websockets and aiohttp at our echo server
  deflate.py client ECHO_CLIENT                                  our client at servers of ws, Bun and websockets

Of our server each message of at least N bytes comes compressed and no other one (--least 256), or none does (--plain). Where its
window is small (--plain), it declines Firefox, which cannot be told to use one.
"""
import argparse
import asyncio
import os
import random
import sys
import tempfile

import aiohttp
import websockets

HERE = os.path.dirname(os.path.abspath(__file__))
BUN = os.path.join(HERE, "node_modules/@oven/bun-linux-x64/bin/bun")
RECORD = '{"name":"é€𐍈","value":1234,"tags":["a","b"]},'
# Texts that shrink, below and above 256 bytes and the buffers of a server, and bytes that do not.
SAMPLES = ["", "short", RECORD * 20, RECORD * 400, RECORD * 5000, random.Random(1).randbytes(10_000), b"\0" * 300_000]
SECONDS = 60


class Frames:
    """Counts the messages of one direction, and those that are compressed, behind the head of HTTP."""

    def __init__(self):
        self.head, self.rest, self.skip, self.messages, self.compressed, self.bytes = b"", b"", 0, 0, 0, 0

    def feed(self, data):
        self.bytes += len(data)
        if not self.head.endswith(b"\r\n\r\n"):
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            if b" 101 " not in self.head[:20] and b"\r\nUpgrade: websocket" not in self.head:
                self.head = b""
                return
            self.head, data = self.head[:end + 4], self.head[end + 4:]
        self.rest += data
        while True:
            n = min(self.skip, len(self.rest))
            self.rest, self.skip = self.rest[n:], self.skip - n
            if self.skip or len(self.rest) < 2:
                return
            short, extended = self.rest[1] & 127, {126: 2, 127: 8}.get(self.rest[1] & 127, 0)
            header = 2 + extended + (4 if self.rest[1] & 128 else 0)
            if len(self.rest) < header:
                return
            if self.rest[0] & 15 in (1, 2):
                self.messages += 1
                self.compressed += self.rest[0] >> 6 & 1
            self.skip = int.from_bytes(self.rest[2:2 + extended], "big") if extended else short
            self.rest = self.rest[header:]


class Proxy:
    """Passes connections on to an address, and counts."""

    def __init__(self, host, port):
        self.target, self.connections = (host, port), []

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.address = "127.0.0.1:%d" % self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def serve(self, reader, writer):
        far_reader, far_writer = await asyncio.open_connection(*self.target)
        up, down = Frames(), Frames()
        self.connections.append((up, down))
        await asyncio.gather(self.pass_on(reader, far_writer, up), self.pass_on(far_reader, writer, down))

    def counts(self):
        """Of the one WebSocket connection: a browser fetches pages too."""
        return max(self.connections, key=lambda frames: frames[0].messages)

    async def pass_on(self, reader, writer, frames):
        try:
            while data := await reader.read(65536):
                frames.feed(data)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()


async def with_websockets(url):
    async with websockets.connect(url, compression="deflate", max_size=None) as ws:
        for sample in SAMPLES:
            await ws.send(sample)
            assert await ws.recv() == sample


async def with_aiohttp(url):
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, compress=15, max_msg_size=0) as ws:
            for sample in SAMPLES:
                await (ws.send_str if isinstance(sample, str) else ws.send_bytes)(sample)
                assert (await ws.receive()).data == sample
            await ws.close()


def script(peer, *more, **options):
    program = BUN if "bun" in peer else "node"
    return asyncio.create_subprocess_exec(program, os.path.join(HERE, "deflate.mjs"), peer, *more, **options)


def with_script(peer):
    async def run(url):
        process = await script(peer, url)
        assert await process.wait() == 0, "deflate.mjs %s has failed" % peer
    return run


async def server(args):
    host, port = args.address.rsplit(":", 1)
    bad = 0
    for name, run in [("websockets", with_websockets), ("aiohttp", with_aiohttp), ("ws", with_script("ws")),
                      ("chromium", with_script("chromium")), ("firefox", with_script("firefox")), ("bun", with_script("bun"))]:
        async with Proxy(host, int(port)) as proxy:
            await asyncio.wait_for(run("ws://" + proxy.address + args.path), SECONDS)
            due = 0 if args.plain else sum(len(s if isinstance(s, bytes) else s.encode()) >= args.least for s in SAMPLES)
            up, down = proxy.counts()
            declined = args.plain and name == "firefox"
            good = down.messages == len(SAMPLES) and down.compressed == due and (up.compressed > 0) != declined
            bad += not good
            print("%-10s sends %d of %d compressed; gets %d of %d, %d due; %d and %d bytes%s" % (
                name, up.compressed, up.messages, down.compressed, down.messages, due, up.bytes, down.bytes,
                "" if good else "  WRONG"))
    return bad


async def client(args):
    async def echo(ws):
        async for message in ws:
            await ws.send(message)

    async def talk(name, port):
        with tempfile.NamedTemporaryFile() as file:
            file.write((RECORD * 20000).encode())
            file.flush()
            for more, lines in [((), SAMPLES[2:4]), (("--file", file.name), ())]:
                async with Proxy("127.0.0.1", port) as proxy:
                    ours = await asyncio.create_subprocess_exec(
                        args.client, "--deflate", "ws://%s/" % proxy.address, *more,
                        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
                    out, _ = await asyncio.wait_for(ours.communicate("".join(l + "\n" for l in lines).encode()), SECONDS)
                    if lines:
                        assert out.decode().splitlines() == lines, "the echo differs"
                    up, _ = proxy.counts()
                    print("%-10s our client sends %d of %d compressed, %d bytes" % (name, up.compressed, up.messages, up.bytes))
                    assert ours.returncode == 0 and up.messages == up.compressed > 0

    async with websockets.serve(echo, "127.0.0.1", 0, compression="deflate", max_size=None) as listening:
        await talk("websockets", listening.sockets[0].getsockname()[1])
    for name, mode in [("ws", "serve"), ("bun", "serve-bun")]:
        process = await script(mode, stdout=asyncio.subprocess.PIPE)
        try:
            await talk(name, int(await process.stdout.readline()))
        finally:
            process.kill()
            await process.wait()
    return 0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = ap.add_subparsers(dest="mode", required=True)
    at = modes.add_parser("server")
    at.add_argument("address")
    at.add_argument("--path", default="/ws")
    at.add_argument("--least", type=int, default=256)
    at.add_argument("--plain", action="store_true")
    modes.add_parser("client").add_argument("client")
    args = ap.parse_args()
    sys.exit(asyncio.run((server if args.mode == "server" else client)(args)) and 1)


if __name__ == "__main__":
    main()
