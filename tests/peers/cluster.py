#!/usr/bin/env python3
"""The chat on two processes over a real Redis, with clients of PyPI websockets.

  cluster.py PROGRAM FOLDER-TO-WORK-IN

Needs redis-server. Everything listens on 127.0.0.1 alone.
"""
import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from itertools import takewhile
from urllib.parse import urlencode

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from check import check, equal, run

PROGRAM, WORK = map(os.path.abspath, sys.argv[1:3])
ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
for tool in ("redis-server", "redis-cli"):
    if not shutil.which(tool):
        sys.exit("%s is not installed" % tool)
shutil.rmtree(WORK, ignore_errors=True)
os.makedirs(WORK)
started = []


def start(name, *command):
    log = open(os.path.join(WORK, name + ".log"), "a")
    process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    started.append(process)
    return process


def until(what, condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "no %s within %d s" % (what, seconds)
        time.sleep(0.05)


class Redis:
    def __init__(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = str(free.getsockname()[1])

    def start(self):
        self.process = start("redis", os.path.join(ROOT, "axum/examples/chat/redis.sh"), os.path.join(WORK, "redis"), self.port)
        until("Redis", lambda: b"PONG" in self.cli("ping").stdout)

    def cli(self, *command):
        return subprocess.run(["redis-cli", "-p", self.port, *command], capture_output=True)

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(20)


class Node:
    def __init__(self, name, *options, limit=None):
        self.name, self.options, self.limit = name, options, limit
        self.listen, self.log = "127.0.0.1:0", os.path.join(WORK, name + ".log")

    def start(self):
        open(self.log, "w").close()
        limit = ["prlimit", "--nofile=%d" % self.limit] if self.limit else []
        self.process = start(self.name, *limit, PROGRAM, "--listen", self.listen, *self.options)
        until("line of " + self.name, lambda: "listening" in open(self.log).read() or self.process.poll() is not None)
        self.listen = open(self.log).read().split("http://")[1].split("/")[0]  # the same at the next start

    def address(self):
        host, port = self.listen.split(":")
        return host, int(port)

    def end(self, how):
        self.process.send_signal(how)
        return self.process.wait(20)


class Page:
    """What the page does: it numbers its messages, comes again, to another process too, and fills gaps by their ids."""

    def __init__(self, name, room, *nodes, sock=None):
        self.name, self.room, self.nodes, self.sock = name, room, list(nodes), sock
        self.client = secrets.token_hex(8)
        self.messages = {}  # by id
        self.gaps = set()  # the ids before gaps
        self.told = self.connects = self.n = 0
        self.pending, self.more = {}, asyncio.Event()  # what was not taken yet
        self.people, self.lost, self.codes = None, False, []
        self.reading = asyncio.Event()
        self.reading.set()
        self.said, self.delays = {}, []

    async def __aenter__(self):
        self.task = asyncio.create_task(self.live())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.wait([self.task])

    def say(self, text):
        self.n += 1
        self.pending[self.n] = text
        self.said[text] = time.monotonic()
        self.more.set()

    async def live(self):
        while True:
            query = {"name": self.name, "client": self.client}
            after = min(self.gaps, default=max(self.messages, default=None))
            if after is not None:
                query["after"] = after
            url = "ws://%s/ws/%s?%s" % (self.nodes[0].listen, self.room, urlencode(query))
            try:
                async with connect(url, max_queue=2, sock=self.sock, ping_interval=None, close_timeout=1) as ws:
                    self.connects += 1
                    self.gaps.clear()  # what follows begins before them
                    writer = asyncio.create_task(self.write(ws))
                    try:
                        while True:
                            await self.reading.wait()
                            await self.take(ws, json.loads(await ws.recv()))
                    finally:
                        writer.cancel()
            except ConnectionClosed as e:
                self.codes.append(e.rcvd.code if e.rcvd else None)
            except (OSError, InvalidHandshake):
                pass
            self.nodes.append(self.nodes.pop(0))
            await asyncio.sleep(0.05)

    async def write(self, ws):
        sent = 0
        try:
            while True:
                self.more.clear()
                for n, text in list(self.pending.items()):
                    if n > sent:
                        await ws.send(json.dumps({"type": "say", "n": n, "text": text}))
                        sent = n
                await self.more.wait()
        except ConnectionClosed:
            pass  # the reader sees it too

    async def take(self, ws, reply):
        kind = reply["type"]
        if kind == "message":
            self.add(reply)
        elif kind == "history":
            for message in reply["messages"]:
                self.add(message)
            self.lost |= reply["lost"]
            after = reply["after"]
            if after is not None and reply["more"]:
                self.gaps.add(after)
                self.told += 1
                before = reply["messages"][0]["id"]
                await ws.send(json.dumps({"type": "history", "after": after, "before": before}))
            else:
                self.gaps.discard(after)
        elif kind == "people":
            self.people = reply["names"]
        elif kind == "taken":
            self.pending.pop(reply["n"], None)

    def add(self, message):
        self.messages[message["id"]] = message["from"], message["text"]
        if message["from"] == self.name and message["text"] in self.said:
            self.delays.append(time.monotonic() - self.said.pop(message["text"]))

    def sequence(self):
        return sorted(self.messages.items())


async def settled(what, condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "no %s within %d s" % (what, seconds)
        await asyncio.sleep(0.02)


def six(room):
    """Three pages on each process; each knows the other process too."""
    return [Page("%s%d" % ("ab"[i % 2], i), room, *([a, b] if i % 2 == 0 else [b, a])) for i in range(6)]


async def everybody(pages):
    names = sorted(page.name for page in pages)
    await settled("common list of people", lambda: all(page.people == names for page in pages))


async def complete(pages, texts):
    """Each text once and the same order for all, without a gap in the ids."""
    await settled("end of what is pending", lambda: not any(page.pending for page in pages))
    await settled("%d messages for all" % len(texts), lambda: all(len(page.messages) >= len(texts) for page in pages))
    await asyncio.sleep(0.2)  # for what should not come
    first = pages[0].sequence()
    for page in pages[1:]:
        equal(page.sequence(), first)
    equal(sorted(text for _, (_, text) in first), sorted(texts))
    ids = [n for n, _ in first]
    equal(ids, list(range(ids[0], ids[0] + len(ids))))
    for page in pages:  # and what one page says keeps its order
        own = [text for _, (name, text) in first if name == page.name]
        equal(own, [text for text in texts if text.startswith(page.name + " ")])
        equal(page.lost, False)


async def talk(pages, rounds, texts, pause, length=0, pace=4):
    """Each page says so many messages; `pace` of them are under way at once."""
    async def one(page):
        for i in range(rounds):
            text = "%s %d %d" % (page.name, len(texts), i) + " " + "x" * length
            texts.append(text)
            page.say(text)
            await settled("taken message", lambda: len(page.pending) < pace)
            await asyncio.sleep(pause)
    await asyncio.gather(*map(one, pages))


async def with_pages(pages, body):
    for page in pages:
        await page.__aenter__()
    try:
        return await body()
    finally:
        for page in pages:
            await page.__aexit__()


@check("six pages on two processes see one order, and who is there")
async def order():
    pages, texts = six("order"), []

    async def body():
        await everybody(pages)
        await talk(pages, 100, texts, 0)
        await complete(pages, texts)
        equal({page.connects for page in pages}, {1})
    await with_pages(pages, body)


@check("one page stops reading: the others do not notice, and it gets what it missed")
async def stalled():
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(a.address())
    narrow.setblocking(False)
    slow = Page("slow", "stalled", a, sock=narrow)
    quick, texts = six("stalled"), []
    pages = [slow, *quick]

    def worst():
        delays = sorted(d for page in quick for d in page.delays)
        for page in quick:
            page.delays.clear()
        return delays[len(delays) * 99 // 100] * 1000, delays[-1] * 1000

    async def body():
        await everybody(pages)
        await talk(quick, 300, texts, 0, 3900)
        await complete(pages, texts)
        before, told = worst(), slow.told
        slow.reading.clear()
        await talk(quick, 300, texts, 0, 3900)
        await complete(quick, texts)
        during = worst()
        missing = len(texts) - len(slow.messages)
        assert missing > 200, "the slow page lacks only %d messages: it was not slow" % missing
        slow.reading.set()
        await complete(pages, texts)
        assert slow.told > told, "no gap was told"
        equal({page.connects for page in pages}, {1})
        return "p99 %.0f ms, most %.0f ms; while it stands still %.0f and %.0f; it lacked %d of %d, and asked %d times" % (
            *before, *during, missing, len(texts), slow.told - told)
    return await with_pages(pages, body)


@check("a process is killed: its pages continue on the other one, without loss or repetition")
async def killed():
    pages, texts = six("killed"), []

    async def body():
        await everybody(pages)

        async def kill():
            await settled("some messages", lambda: len(texts) > 200)
            a.end(signal.SIGKILL)
        await asyncio.gather(talk(pages, 100, texts, 0.002), kill())
        await complete(pages, texts)
        await everybody(pages)  # those of the dead process are gone, although it could not say so
        equal([page.connects > 1 for page in pages], [True, False] * 3)
    try:
        await with_pages(pages, body)
    finally:
        a.start()


@check("Redis is killed and comes again: without loss or repetition")
async def restarted():
    pages, texts = six("restarted"), []

    async def body():
        await everybody(pages)

        async def restart():
            await settled("some messages", lambda: len(texts) > 200)
            redis.end(signal.SIGKILL)
            await asyncio.sleep(0.5)
            redis.start()
        await asyncio.gather(talk(pages, 100, texts, 0.002), restart())
        await complete(pages, texts)
        assert any(1013 in page.codes for page in pages), [page.codes for page in pages]
        await everybody(pages)
    await with_pages(pages, body)


@check("a process that gets SIGTERM closes its pages with 1001, and they continue on the other one")
async def stopped():
    pages, texts = six("stopped"), []

    async def body():
        await everybody(pages)

        async def stop():
            await settled("some messages", lambda: len(texts) > 200)
            equal(await asyncio.get_running_loop().run_in_executor(None, a.end, signal.SIGTERM), 0)
        await asyncio.gather(talk(pages, 100, texts, 0.002), stop())
        await complete(pages, texts)
        equal([page.codes for page in pages], [[1001], []] * 3)
    try:
        await with_pages(pages, body)
    finally:
        a.start()


@check("a new page gets the newest messages, and older ones on request")
async def history():
    writer, texts = Page("writer", "history", a), []

    async def body():
        await talk([writer], 120, texts, 0)
        await complete([writer], texts)
        query = urlencode({"name": "reader", "client": "r"})
        async with connect("ws://%s/ws/history?%s" % (b.listen, query)) as ws:
            got, more = [], True
            while more:
                reply = json.loads(await ws.recv())
                if reply["type"] == "history":
                    assert len(reply["messages"]) <= 50
                    got = reply["messages"] + got
                    more = reply["more"]
                    if more:
                        await ws.send(json.dumps({"type": "history", "before": got[0]["id"]}))
        equal([message["text"] for message in got], texts)
        assert all(abs(message["at"] / 1000 - time.time()) < 60 for message in got)
    await with_pages([writer], body)


@check("a process reads only the rooms that somebody is in")
async def rooms():
    here, there = Page("here", "here", a), Page("there", "there", b)

    async def body():
        await everybody([here])
        await everybody([there])
        monitor = subprocess.Popen(["redis-cli", "-p", redis.port, "monitor"], stdout=subprocess.PIPE, text=True)
        try:
            equal(monitor.stdout.readline(), "OK\n")
            # What comes second is read by a command that was sent after the first.
            for page in (here, there):
                for text in ("first", "second"):
                    page.say(text)
                    await settled(text + " message", lambda: any(said == text for _, said in page.messages.values()))
            redis.cli("echo", "end of the check")
            lines = list(takewhile(lambda line: "end of the check" not in line, monitor.stdout))
        finally:
            monitor.terminate()
        reads = [re.findall(r'"chat:room:(\w+)"', line) for line in lines if '"XREAD"' in line]
        equal(sorted(set(map(tuple, reads))), [("here",), ("there",)])
    await with_pages([here, there], body)


@check("what is not right is refused")
async def refused():
    right = urlencode({"name": "Ann", "client": "c"})
    for path, origin, status in [
        ("/ws/room?" + right, "https://another.example", 403),
        ("/ws/two%20words?" + right, None, 400),
        ("/ws/room?name=Ann", None, 400),
        ("/ws/room?name=&client=c", None, 400),
        ("/ws/room?name=%s&client=c" % ("n" * 100), None, 400),
        ("/nothing", None, 404),
    ]:
        try:
            async with connect("ws://%s%s" % (a.listen, path), origin=origin):
                raise AssertionError("%s is accepted" % path)
        except InvalidStatus as e:
            equal((path, e.response.status_code), (path, status))
    for message, code in [
        (b"{}", 1003),
        ("nonsense", 1008),
        ('{"type":"say","n":1,"text":""}', 1008),
        (json.dumps({"type": "say", "n": 1, "text": "x" * 5000}), 1008),
        ("x" * 40000, 1009),
    ]:
        async with connect("ws://%s/ws/room?%s" % (a.listen, right), origin="http://" + a.listen) as ws:
            await ws.send(message)
            try:
                while True:
                    await asyncio.wait_for(ws.recv(), 10)
            except ConnectionClosed as e:
                equal((message[:40], e.rcvd and e.rcvd.code), (message[:40], code))


async def comes_in(node):
    async with connect("ws://%s/ws/room?name=Ann&client=c" % node.listen, open_timeout=30) as ws:
        equal(json.loads(await ws.recv())["type"], "history")


@check("the server goes on after a failed accept")
async def descriptors():
    node = Node("few", "--max-connections", "1000", limit=40)
    node.start()
    sockets = [socket.create_connection(node.address()) for _ in range(60)]
    await settled("failed accept", lambda: "accept:" in open(node.log).read())
    for one in sockets:
        one.close()
    await comes_in(node)
    node.end(signal.SIGTERM)


@check("connections that say nothing do not take the places of others for ever")
async def silent():
    node = Node("seats", "--max-connections", "4")
    node.start()
    sockets = [socket.create_connection(node.address()) for _ in range(4)]
    began = time.monotonic()
    await comes_in(node)
    assert time.monotonic() - began > 5, "more than four connections were served at once"
    for one in sockets:
        one.close()
    node.end(signal.SIGTERM)


redis = Redis()
a, b = [Node(name, "--kept", "10000", "--redis", "redis://127.0.0.1:%s/" % redis.port) for name in "ab"]
try:
    for one in (redis, a, b):
        one.start()
    run()
finally:
    for process in started:
        process.kill()
    for process in started:
        process.wait()
