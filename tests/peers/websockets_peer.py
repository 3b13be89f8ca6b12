#!/usr/bin/env python3
"""PyPI websockets against the echo server: one client, then many clients and one that does not read.

  websockets_peer.py ws://127.0.0.1:PORT [--clients 200] [--ca FILE]

The server must allow two connections more than --clients. --ca: the authority, in PEM, that vouches for a server
with TLS, wss://127.0.0.1:PORT.
"""
import argparse
import asyncio
import os
import ssl
import time

from websockets.asyncio.client import connect as dial
from websockets.exceptions import ConnectionClosedOK, InvalidStatus

from check import check, equal, run

ap = argparse.ArgumentParser()
ap.add_argument("url")
ap.add_argument("--clients", type=int, default=200)
ap.add_argument("--ca")
args = ap.parse_args()
BASE = args.url.rstrip("/")
TLS = {"ssl": ssl.create_default_context(cafile=args.ca)} if args.ca else {}


def connect(path="/ws", **options):
    options = {"compression": None, "ping_interval": None, "max_size": 1 << 25, "close_timeout": 10, **TLS, **options}
    return dial(BASE + path, **options)


async def echo(ws, data):
    # Send and receive together: a server with small buffers echoes while it receives.
    _, got = await asyncio.gather(ws.send(data), ws.recv())
    equal(got, data)


@check("text and binary are echoed, 1 MiB and empty included")
async def messages():
    async with connect() as ws:
        for data in ("Hello", "", "grüße, 世界 🎉", b"", bytes(range(256)), b"Trigger async", "x" * 65535, os.urandom(1 << 20)):
            await echo(ws, data)
    equal((ws.close_code, ws.close_reason), (1000, ""))


@check("a message sent in fragments is echoed")
async def fragments():
    async with connect() as ws:
        pieces = [os.urandom(n) for n in (1, 0, 125, 126, 5000)]
        sent = asyncio.create_task(ws.send(pieces))
        equal(await ws.recv(), b"".join(pieces))
        await sent


@check("a ping gets its pong")
async def ping():
    async with connect() as ws:
        for payload in (b"", b"payload", b"q" * 125):
            await asyncio.wait_for(await ws.ping(payload), 5)


@check("close: code and reason come back")
async def close():
    for code, reason in ((1000, "bye"), (1001, ""), (4000, "r" * 123)):
        ws = await connect()
        await ws.close(code, reason)
        equal((ws.close_code, ws.protocol.close_rcvd.code), (code, code))


@check("subprotocol: one agreed, or none")
async def subprotocol():
    for offer, agreed in ((["echo"], "echo"), (["echo", "chat"], "chat"), (["unknown"], None), (["Echo"], None), (None, None)):
        async with connect(subprotocols=offer) as ws:
            equal((offer, ws.subprotocol), (offer, agreed))


@check("/auth: 401 without the token, a welcome with it; 404 elsewhere")
async def auth():
    for path, want in (("/auth", 401), ("/nowhere", 404)):
        try:
            await (await connect(path)).close()
            got = 101
        except InvalidStatus as e:
            got = e.response.status_code
        equal((path, got), (path, want))
    async with connect("/auth?token=valid") as ws:
        equal(await ws.recv(), "Welcome to the WebSocket Echo Server (post-handshake)!")
        await echo(ws, "after")


@check("/ws_partial: 200 bytes come in pieces of 64, 64, 64, 8")
async def partial():
    async with connect("/ws_partial") as ws:
        for data in ("abcdefgh" * 25, bytes(range(200))):
            await ws.send(data)
            got = [piece async for piece in ws.recv_streaming()]
            equal([len(piece) for piece in got], [64, 64, 64, 8])
            equal(data[:0].join(got), data)


@check('"Trigger async" and "Ping" get no echo')
async def commands():
    async with connect() as ws:
        await ws.send("Trigger async")
        equal(await ws.recv(), "Async data")
        await ws.send("Ping")
        await echo(ws, "what comes next is this")


@check("%d clients at once" % args.clients)
async def crowd():
    async def client(n):
        async with connect(open_timeout=50) as ws:
            everyone.append(n)
            while len(everyone) < args.clients:  # all are open before the first speaks
                await asyncio.sleep(0.01)
            for i in range(10):
                await echo(ws, "client %d, message %d, %s" % (n, i, "x" * (n * 37 % 2000)))
        equal(ws.close_code, 1000)
    everyone = []
    await asyncio.gather(*(client(n) for n in range(args.clients)))


@check("a slow reader delays nobody, and loses nothing")
async def slow_reader():
    async with connect(max_queue=1) as slow, connect() as other:
        block, sent = os.urandom(65536), 0
        while sent < 2000:  # until nothing more goes in, for want of reading
            try:
                sent += 1
                await asyncio.wait_for(slow.send(block), 0.5)
            except asyncio.TimeoutError:
                break
        else:
            raise AssertionError("the server took 128 MiB without an end")
        for i in range(50):
            began = time.monotonic()
            await echo(other, "message %d" % i)
            assert time.monotonic() - began < 1, "the other client waited"
        for _ in range(sent):
            equal(await slow.recv() == block, True)


@check("a client may disconnect without a close")
async def abort():
    for _ in range(20):
        ws = await connect()
        ws.transport.abort()
    async with connect() as ws:
        await echo(ws, "still there")
        await ws.close()
        try:
            await ws.recv()
        except ConnectionClosedOK:
            pass


run()
