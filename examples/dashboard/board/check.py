#!/usr/bin/env python3
"""The dashboard on the board, end to end: check.py [PORT], default 8080. Python 3.8+, nothing to install.

A line for each check, none of which takes longer than CHECK seconds; exit code 1 if one failed.
"""
import json
import os
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../../tests/peers"))
import wire  # noqa: E402
from check import check, equal, run  # noqa: E402
from wire import CLOSE, PING, PONG, TEXT, frame, parse, rest  # noqa: E402

SESSIONS = 4  # the most at once; one more evicts the session that was silent for longest
SOCKET = 15  # seconds without a byte
FREE = 10  # seconds until a socket listens again
CHECK = 60  # seconds for one check
PAGE = os.path.join(HERE, "../page.html")
PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 8080


def get(path, method="GET", body=b"", host="board"):
    """Status and body; a socket that is not listening yet refuses a connection."""
    end = time.monotonic() + FREE
    while True:
        try:
            with wire.dial("127.0.0.1", PORT, SOCKET) as s:
                s.sendall(b"%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s"
                          % (method.encode(), path.encode(), host.encode(), len(body), body))
                status, _, got = parse(rest(s))
                return status, got
        except (ConnectionResetError, AssertionError):
            assert time.monotonic() < end, "no socket listens"
            time.sleep(0.05)


def sessions():
    """The bytes of the heap that are in use, and the ids of all sessions, with that of this request."""
    status, body = get("/sessions")
    equal(status, 200)
    heap, *ids = body.decode().split("\n")
    return int(heap.split()[1]), [id for id in ids if id]


def connect():
    return wire.patient(lambda: wire.dial("127.0.0.1", PORT, SOCKET), 503, FREE)


def message(client):
    """The next text; Pings are answered."""
    while True:
        _, opcode, payload = client.frame()
        if opcode != PING:
            equal(opcode, TEXT)
            return json.loads(payload)
        client.socket.sendall(frame(PONG, payload))


def until(client, key):
    """The next message that has this key."""
    while True:
        got = message(client)
        if key in got:
            return got


def quiet():
    """A client with few samples, after what it is greeted with."""
    client = connect()
    equal(message(client)["device"], "Board")
    state = message(client)
    equal(message(client), {"interval": 100})
    client.socket.sendall(frame(TEXT, b"interval 5000"))
    equal(until(client, "interval"), {"interval": 5000})
    return client, state


def close(client):
    client.socket.sendall(frame(CLOSE, b"\x03\xe8"))
    while client.frame()[1] != CLOSE:
        pass
    equal(client.rest(), b"")
    client.drop()


@check("the page, and what is not there")
def the_page():
    with open(PAGE, "rb") as f:
        equal(get("/"), (200, f.read()))
    equal(get("/nothing")[0], 404)


@check("samples come, with their numbers in order")
def samples():
    client = connect()
    first = until(client, "n")
    equal(until(client, "n")["n"], first["n"] + 1)
    close(client)


@check("a command of one client reaches all others at once, without a sample in between")
def commands():
    clients = [quiet() for _ in range(SESSIONS)]
    led = 1 - clients[0][1]["led"]
    began = time.monotonic()
    clients[0][0].socket.sendall(frame(TEXT, b"led %d" % led))
    for client, _ in clients:
        equal(until(client, "led")["led"], led)
    took = time.monotonic() - began
    for client, _ in clients:
        close(client)
    return "%d ms" % (took * 1000)


@check("a POST is broadcast to all, and one of a page of another host is not")
def broadcast():
    clients = [quiet()[0] for _ in range(SESSIONS - 1)]  # the POST takes a place
    equal(get("/say", "POST", b'{"say":"hello"}')[0], 204)
    for client in clients:
        equal(until(client, "say"), {"say": "hello"})
    with wire.dial("127.0.0.1", PORT, SOCKET) as s:
        s.sendall(b"POST /say HTTP/1.1\r\nHost: board\r\nOrigin: http://evil\r\nContent-Length: 2\r\n\r\n{}")
        equal(parse(rest(s))[0], 403)
    for client in clients:
        close(client)


@check("ids are never used twice, and a session gives back what it took of the heap")
def memory():
    before, one = sessions()
    client, _ = quiet()
    during, two = sessions()
    close(client)
    after, three = sessions()
    assert len(two) == len(one) + 1 and not set(one) & set(three), (one, two, three)
    assert after <= before + 256, "%d bytes before, %d after" % (before, after)
    return "%d bytes of the heap for a session" % (during - before)


@check("one client too many: the session that was silent for longest is closed with 1013")
def eviction():
    clients = [quiet()[0] for _ in range(SESSIONS)]
    for client in clients[1:]:
        client.socket.sendall(frame(TEXT, b"interval 4000"))
        equal(until(client, "interval"), {"interval": 4000})
    late, _ = quiet()
    end = clients[0].frame()
    while end[1] != CLOSE:
        end = clients[0].frame()
    equal(struct.unpack(">H", end[2][:2])[0], 1013)
    clients[0].drop()
    for client in clients[1:] + [late]:
        close(client)


@check("clients that vanish without a word give their sockets back")
def resets():
    for _ in range(3):
        for client in [connect() for _ in range(SESSIONS)]:
            client.reset()
    client, _ = quiet()
    close(client)


run(CHECK)
