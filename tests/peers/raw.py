#!/usr/bin/env python3
"""Plain sockets against the echo server: exact bytes, wrong requests, cuts, and peers that misbehave.

  raw.py [--strict HOST:PORT [--idle N]] [--lenient HOST:PORT]
         [--scarce HOST:PORT --connections N] [--hasty HOST:PORT --seconds S]

Each names a server and asks for the group of checks that suits it: --strict one with default settings, --lenient one
with --allow-malformed-key, --scarce one with --max-connections N, --hasty one with --handshake-timeout S.
"""
import argparse
import socket
import struct
import time

import wire
from check import check, equal, run
from wire import RFC_ACCEPT, RFC_KEY, frame, parse, read_exactly, read_head, request, reset

ap = argparse.ArgumentParser()
for group in ("strict", "lenient", "scarce", "hasty"):
    ap.add_argument("--" + group)
ap.add_argument("--idle", type=int, default=20, help="silent connections that the --strict server can hold beside one more")
ap.add_argument("--connections", type=int)
ap.add_argument("--seconds", type=float)
args = ap.parse_args()

# The request in the log of ESP-IDF's example. Its key is not 16 bytes of base64.
IDF_REQUEST = (b"GET /ws HTTP/1.1\r\nHost: 192.168.4.2\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               b"Sec-WebSocket-Key: gfhjgfhjfj\r\nSec-WebSocket-Protocol: echo\r\nSec-WebSocket-Version: 13\r\n\r\n")


def dial(base):
    host, port = base.rsplit(":", 1)
    return wire.dial(host, int(port), 10)


def get(path, *lines):
    return ("\r\n".join(("GET %s HTTP/1.1" % path, "Host: 127.0.0.1") + lines) + "\r\n\r\n").encode()


def read_until_end(s, seconds=10):
    """All bytes to the end of the stream; a reset counts as an end."""
    s.settimeout(seconds)
    got = b""
    try:
        while True:
            piece = s.recv(65536)
            if not piece:
                return got
            got += piece
    except ConnectionResetError:
        return got


def upgrade(base):
    s = dial(base)
    s.sendall(request())
    equal(read_head(s)[0], 101)
    return s


def options(headers):
    return [o.strip().lower() for o in headers.get("connection", "").split(",")]


def refused(base, raw, status):
    """The request gets this status with a right Content-Length, then the end; returns the headers."""
    with dial(base) as s:
        s.sendall(raw)
        got, headers, body = parse(read_until_end(s))
    headers = {k.lower(): v for k, v in headers}
    label = raw if len(raw) < 300 else raw[:300]
    equal((label, got), (label, status))
    equal((label, headers.get("content-length")), (label, str(len(body))))
    assert "close" in options(headers), "Connection is %r" % headers.get("connection")
    return headers


def accepted(base, raw):
    with dial(base) as s:
        s.sendall(raw)
        status, headers, _ = read_head(s)
        equal((raw, status), (raw, 101))
        return headers


def serves(base):
    with upgrade(base) as s:
        s.sendall(frame(1, b"Hello"))
        equal(read_exactly(s, 7), b"\x81\x05Hello")
        s.sendall(frame(8, b"\x03\xe8"))
        equal(read_until_end(s, 3), b"\x88\x02\x03\xe8")


def at_every_split(base, sent, want, together=1):
    """Two writes cut at each place in turn (some connections together), then byte by byte: always the same answer."""
    for first in range(1, len(sent), together):
        cuts = range(first, min(first + together, len(sent)))
        sockets = [dial(base) for _ in cuts]
        for s, cut in zip(sockets, cuts):
            s.sendall(sent[:cut])
        time.sleep(0.002)
        for s, cut in zip(sockets, cuts):
            s.sendall(sent[cut:])
        for s, cut in zip(sockets, cuts):
            equal((cut, read_exactly(s, len(want))), (cut, want))
            s.close()
    with dial(base) as s:
        for i in range(len(sent)):
            s.sendall(sent[i:i + 1])
            time.sleep(0.0005)
        equal(read_exactly(s, len(want)), want)


STRICT, LENIENT, SCARCE, HASTY = args.strict, args.lenient, args.scarce, args.hasty


@check("the 101: accept value of the RFC, its lines in order", STRICT)
def switching():
    for add, last in (((), []), (("Sec-WebSocket-Protocol: nothing",), []),
                      (("Sec-WebSocket-Protocol: nothing, echo",), [("Sec-WebSocket-Protocol", "echo")]),
                      (("Sec-WebSocket-Protocol: nothing", "Sec-WebSocket-Protocol: echo"), [("Sec-WebSocket-Protocol", "echo")]),
                      (("Sec-WebSocket-Protocol: " + ", ".join("p%d" % i for i in range(20)) + ", chat",),
                       [("Sec-WebSocket-Protocol", "chat")])):
        headers = accepted(STRICT, request(add=add))
        equal([(k, v.lower()) for k, v in headers[:2]], [("Upgrade", "websocket"), ("Connection", "upgrade")])
        equal(headers[2:], [("Sec-WebSocket-Accept", RFC_ACCEPT)] + last)


@check("upgrade and connection are lists, compared without case", STRICT)
def lists():
    for change in ({"Connection": "keep-alive, Upgrade"}, {"Connection": "UPGRADE"}, {"Upgrade": "WebSocket"},
                   {"Upgrade": "h2c, websocket"}, {"Connection": " , upgrade ,"}):
        accepted(STRICT, request(**change))
    accepted(STRICT, request(Connection="keep-alive", add=("Connection: Upgrade",)))
    accepted(STRICT, request().replace(b"Sec-WebSocket-Key", b"sec-websocket-KEY"))


@check("a malformed key is 400", STRICT)
def malformed_key():
    refused(STRICT, IDF_REQUEST, 400)
    for key in ("", "AAAA", RFC_KEY[:-2], RFC_KEY + "AAAA", "dGhlIHNhbXBsZSBub25j!Q==", RFC_KEY[:-4] + "===="):
        refused(STRICT, request(Sec_WebSocket_Key=key), 400)


@check("wrong requests are 400", STRICT)
def bad_requests():
    for name in ("Host", "Sec-WebSocket-Key", "Sec-WebSocket-Version"):
        refused(STRICT, request(drop=(name,)), 400)
    for double in ("Host: other", "Sec-WebSocket-Key: " + RFC_KEY, "Sec-WebSocket-Version: 13"):
        refused(STRICT, request(add=(double,)), 400)
    refused(STRICT, request(add=("Origin: http://127.0.0.1", "Origin: http://127.0.0.1")), 400)
    refused(STRICT, request(Connection="keep-alive"), 400)
    refused(STRICT, request(version="HTTP/1.0"), 400)
    refused(STRICT, request(end="\n"), 400)
    refused(STRICT, request(add=("Content-Length: 5",)), 400)
    refused(STRICT, request(add=("Transfer-Encoding: chunked",)), 400)
    refused(STRICT, request(add=("No colon here",)), 400)
    refused(STRICT, request(add=("Odd\x00: name",)), 400)
    refused(STRICT, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(128, 200)) + b"\r\n\r\n", 400)


@check("404 for an unknown path, upgrade or not", STRICT)
def not_found():
    for path in ("/nowhere", "/ws/", "/WS"):
        refused(STRICT, request(path), 404)
        refused(STRICT, get(path), 404)


@check("405 with Allow for another method", STRICT)
def method():
    for path, way in (("/ws", "POST"), ("/ws", "PUT"), ("/auth?token=valid", "DELETE"), ("/", "DELETE")):
        headers = refused(STRICT, request(path, way), 405)
        assert "GET" in headers.get("allow", ""), "Allow is %r" % headers.get("allow")


@check("426 for a plain GET and for another version, with what to upgrade to", STRICT)
def upgrade_required():
    for raw in (get("/ws"), get("/ws_partial"), get("/ws", "Connection: keep-alive", "Accept: */*"),
                request(Sec_WebSocket_Version="8"), request(Sec_WebSocket_Version="0"), request(Sec_WebSocket_Version="130")):
        headers = refused(STRICT, raw, 426)
        equal((headers.get("upgrade", "").lower(), headers.get("sec-websocket-version")), ("websocket", "13"))
        # RFC 9110 §7.8: a sender of Upgrade names it among the connection options
        assert "upgrade" in options(headers), "Connection is %r" % headers.get("connection")


@check("431 for a head that is too large, sent at once or in pieces", STRICT)
def too_large():
    refused(STRICT, request(add=("X: " + "x" * 60000,)), 431)
    refused(STRICT, request(add=["A: b"] * 5000), 431)
    refused(STRICT, get("/" + "x" * 60000), 431)
    with dial(STRICT) as s:
        s.sendall(b"GET /ws HTTP/1.1\r\nHost: a\r\nX: ")
        try:
            for _ in range(200):
                s.sendall(b"x" * 500)
                time.sleep(0.001)
        except (ConnectionResetError, BrokenPipeError):
            pass
        equal(parse(read_until_end(s))[0], 431)


@check("the page is served", STRICT)
def page():
    with dial(STRICT) as s:
        s.sendall(get("/"))
        status, headers, body = parse(read_until_end(s))
    headers = {k.lower(): v for k, v in headers}
    equal((status, headers["content-length"], headers["content-type"].split(";")[0]), (200, str(len(body)), "text/html"))
    assert body.startswith(b"<!doctype html>"), body[:40]


@check("input after a refused upgrade is not read as a request", STRICT)
def smuggling():
    with dial(STRICT) as s:
        s.sendall(request(Sec_WebSocket_Key="bad") + get("/"))
        equal(read_until_end(s).count(b"HTTP/1.1 "), 1)


@check("request and frame cut at every byte give the same answer", STRICT)
def splits():
    want = ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n"
            "\r\n" % RFC_ACCEPT).encode() + b"\x81\x05Hello\x8a\x01p"
    at_every_split(STRICT, request() + frame(1, b"Hello") + frame(9, b"p"), want)


@check("each violation is answered with its close code, then the connection ends", STRICT)
def violations():
    for sent, code in ((b"\x81\x05Hello", 1002), (frame(3, b""), 1002), (frame(0, b"x"), 1002), (b"\xc1\x80\0\0\0\0", 1002),
                       (frame(9, b"x" * 126), 1002), (frame(9, b"x", fin=False), 1002), (frame(8, b"\x03"), 1002),
                       (frame(8, b"\x03\xed"), 1002), (frame(1, b"\xc0\x80"), 1007), (frame(8, b"\x03\xe8\xff"), 1007),
                       (b"\x82\xff\x80" + b"\0" * 7 + b"\0\0\0\0", 1002), (b"\x82\xfe\0\x05\0\0\0\0Hello", 1002)):
        with upgrade(STRICT) as s:
            s.sendall(sent)
            got = read_until_end(s, 3)
        equal((sent, got[:1], got[2:4]), (sent, b"\x88", struct.pack(">H", code)))


@check("a frame that claims 2^62 bytes takes no memory", STRICT)
def huge():
    with upgrade(STRICT) as s:
        s.sendall(b"\x82\xff" + struct.pack(">Q", 1 << 62) + b"\0\0\0\0" + b"some")
        serves(STRICT)


@check("the server continues after resets inside a request, a message and an echo", STRICT)
def resets():
    for _ in range(20):
        s = dial(STRICT)
        s.sendall(request()[:60])
        reset(s)
        s = upgrade(STRICT)
        s.sendall(frame(1, b"half of this message is missing")[:20])
        reset(s)
        s = upgrade(STRICT)
        s.sendall(frame(2, b"x" * 4000) * 3)
        reset(s)
        serves(STRICT)


@check("after a half close the echo comes, then the end", STRICT)
def half_close():
    with upgrade(STRICT) as s:
        s.sendall(frame(1, b"Hello"))
        s.shutdown(socket.SHUT_WR)
        got = read_until_end(s, 5)
        equal(got[:7], b"\x81\x05Hello")
        assert got[7:8] in (b"", b"\x88"), got
    for cut in (0, 60):
        with dial(STRICT) as s:
            s.sendall(request()[:cut])
            s.shutdown(socket.SHUT_WR)
            read_until_end(s, 5)
    serves(STRICT)


@check("20 pings at once get their pongs in order, and the close after them is answered", STRICT)
def pings():
    with upgrade(STRICT) as s:
        s.sendall(b"".join(frame(9, b"%d" % i) for i in range(20)) + frame(8, b"\x03\xe8"))
        got, seen = read_until_end(s, 5), []
        while got:
            seen.append((got[0], got[2:2 + got[1]]))
            got = got[2 + got[1]:]
    equal(seen[-1], (0x88, b"\x03\xe8"))
    numbers = [int(p) for o, p in seen[:-1] if o == 0x8A]
    equal(len(numbers), len(seen) - 1)
    # RFC 6455 §5.5.3: pongs to all but the latest ping may be left out
    equal((numbers == sorted(set(numbers)), numbers[-1:]), (True, [19]))


@check("%d connections that send nothing do not keep others out" % args.idle, STRICT)
def silent():
    idle = [(upgrade if i % 2 else dial)(STRICT) for i in range(args.idle)]
    serves(STRICT)
    for s in idle:
        s.close()
    serves(STRICT)


# The answer to the request in ESP-IDF's log, then to TEXT "Trigger async": no echo, but TEXT "Async data".
IDF_ANSWER = (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              b"Sec-WebSocket-Accept: Jg/fQVRsgwdDzYeG8yNBHRajUxw=\r\nSec-WebSocket-Protocol: echo\r\n\r\n\x81\x0aAsync data")


@check("ESP-IDF's log: 128 + 40 bytes, the 101, then the asynchronous answer", LENIENT)
def golden():
    equal(len(IDF_REQUEST), 168)
    with dial(LENIENT) as s:
        s.sendall(IDF_REQUEST[:128])
        time.sleep(0.1)
        s.sendall(IDF_REQUEST[128:])
        head = IDF_ANSWER[:IDF_ANSWER.index(b"\x81")]
        equal(read_exactly(s, len(head)), head)
        s.sendall(frame(1, b"Trigger async"))
        equal(read_exactly(s, 12), b"\x81\x0aAsync data")
        s.sendall(frame(8, b"\x03\xe8"))
        equal(read_until_end(s, 3), b"\x88\x02\x03\xe8")


@check("the same at every split, inside the frame too", LENIENT)
def golden_splits():
    at_every_split(LENIENT, IDF_REQUEST + frame(1, b"Trigger async"), IDF_ANSWER, together=8)


@check("503 when all places are taken, and every place is free again later", SCARCE)
def exhausted():
    for _ in range(3):
        held = [upgrade(SCARCE) for _ in range(args.connections)]
        for _ in range(3):
            refused(SCARCE, request(), 503)
        for s in held:
            s.sendall(frame(1, b"Hello"))
            equal(read_exactly(s, 7), b"\x81\x05Hello")
        held.pop().close()
        time.sleep(0.5)
        serves(SCARCE)
        for s in held:
            s.close()
        time.sleep(0.5)


@check("resets free their places", SCARCE)
def not_leaked():
    for _ in range(10):
        for s in [upgrade(SCARCE) for _ in range(args.connections)]:
            reset(s)
        time.sleep(0.2)
    serves(SCARCE)


def ended_after(s, began, what):
    """The deadline holds for the whole handshake, however busy the peer is; others are served meanwhile."""
    took = time.monotonic() - began
    assert args.seconds * 0.7 <= took <= args.seconds + 2, "%s ended after %.1f s" % (what, took)
    s.close()


@check("a peer that sends single bytes is disconnected at the deadline", HASTY)
def loris():
    s, began = dial(HASTY), time.monotonic()
    s.settimeout(0.1)
    for i in range(int(args.seconds * 5) + 40):
        try:
            s.sendall(request()[i % 100:i % 100 + 1])
            if not s.recv(1000):  # a 408 before the end is welcome
                break
        except socket.timeout:
            pass
        except (ConnectionResetError, BrokenPipeError):
            break
        serves(HASTY)
        time.sleep(0.1)
    ended_after(s, began, "the slow peer")


@check("a peer that sends nothing is disconnected too", HASTY)
def mute():
    s, began = dial(HASTY), time.monotonic()
    read_until_end(s, args.seconds + 5)
    ended_after(s, began, "the mute peer")


@check("an open connection may be silent for longer", HASTY)
def patient():
    with upgrade(HASTY) as s:
        time.sleep(args.seconds + 1)
        s.sendall(frame(1, b"Hello"))
        equal(read_exactly(s, 7), b"\x81\x05Hello")


run()
