#!/usr/bin/env python3
"""End to end against the board: check.py [URL-OR-PORT], default 8080. Python 3.8+, nothing to install.

A line for each check, none of which takes longer than CHECK seconds; exit code 1 if one failed.
"""
import base64
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
import traceback
import urllib.parse

PLACES = 4  # the board's sockets
SOCKET = 15  # seconds without a byte
FREE = 10  # seconds until a place is given back
CHECK = 90  # seconds for one check
MIB = 1 << 20
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

where = sys.argv[1] if len(sys.argv) > 1 else "8080"
url = urllib.parse.urlsplit("ws://127.0.0.1:" + where if where.isdigit() else where if "//" in where else "//" + where)
HOST, PORT = url.hostname or "127.0.0.1", url.port or 80
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../echo/page.html")

checks = []


def check(function):
    checks.append(function)
    return function


# ---- a client ----


def dial(receive_buffer=None):
    s = socket.socket()
    s.settimeout(SOCKET)
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.connect((HOST, PORT))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def upgrade(path="/ws"):
    key = base64.b64encode(os.urandom(16)).decode()
    lines = ("GET %s HTTP/1.1" % path, "Host: %s:%d" % (HOST, PORT), "Upgrade: websocket", "Connection: Upgrade",
             "Sec-WebSocket-Key: " + key, "Sec-WebSocket-Version: 13", "", "")
    return "\r\n".join(lines).encode()


def frame(opcode, payload, fin=True):
    n, mask = len(payload), os.urandom(4)
    size = bytes([0x80 | n]) if n < 126 else struct.pack(">BH", 0xFE, n) if n < 65536 else struct.pack(">BQ", 0xFF, n)
    masks = (mask * (n // 4 + 1))[:n]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(masks, "big")
    return bytes([fin << 7 | opcode]) + size + mask + masked.to_bytes(n, "big")


class Refused(Exception):
    """No place was free, or none listened yet."""


class Client:
    def __init__(self, receive_buffer=None):
        self.socket = dial(receive_buffer)
        self.stream = self.socket.makefile("rb")
        try:
            self.socket.sendall(upgrade())
            status = self.stream.readline()
            if not status:
                raise Refused
        except (ConnectionResetError, BrokenPipeError):
            raise Refused from None
        assert status.startswith(b"HTTP/1.1 101 "), status
        while self.stream.readline().strip():
            pass

    def read(self, n):
        data = self.stream.read(n)
        assert len(data) == n, "the stream ended after %d of %d bytes" % (len(data), n)
        return data

    def frame(self):
        """(fin, opcode, payload) of the next frame."""
        first, n = self.read(2)
        assert not n & 0x80, "a server does not mask"
        if n > 125:
            n, = struct.unpack(">H" if n == 126 else ">Q", self.read(2 if n == 126 else 8))
        return first >> 7, first & 0x7F, self.read(n)

    def message(self):
        """(opcode, payload) of the next message; whatever control frames come in between are an error."""
        fin, kind, payload = self.frame()
        assert kind in (TEXT, BINARY), "opcode %d" % kind
        parts = [payload]
        while not fin:
            fin, opcode, payload = self.frame()
            assert opcode == CONTINUATION, "opcode %d" % opcode
            parts.append(payload)
        return kind, b"".join(parts)

    def echo(self, kind, payload):
        """Sends while it receives, for no message fits the board."""
        data = frame(kind, payload)
        sending = threading.Thread(target=self.send, args=(data,), daemon=True)
        sending.start()
        got = self.message()
        sending.join(SOCKET)
        assert got == (kind, payload), "what came back is not what was sent"

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # the receiver sees it as well

    def close(self):
        """The closing handshake, to the end of the stream."""
        self.socket.sendall(frame(CLOSE, b"\x03\xe8"))
        answer = self.frame()
        assert answer == (1, CLOSE, b"\x03\xe8"), answer
        assert self.stream.read() == b"", "something came behind the Close"
        self.drop()

    def drop(self):
        self.stream.close()
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.drop()


def connect(receive_buffer=None):
    """A client; a place that was just given up may take a moment to listen again."""
    end = time.monotonic() + FREE
    while True:
        try:
            return Client(receive_buffer)
        except Refused:
            assert time.monotonic() < end, "no place came free within %d s" % FREE
            time.sleep(0.02)


def together(*functions):
    """Runs them at once; the first exception is raised."""
    failed = []

    def run(function):
        try:
            function()
        except BaseException as e:
            failed.append(e)

    threads = [threading.Thread(target=run, args=(f,), daemon=True) for f in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(CHECK)
    if failed:
        raise failed[0]
    assert not any(thread.is_alive() for thread in threads), "no end"


def all_serve():
    """Every place is free, echoes and closes; how long that took to come about."""
    began = time.monotonic()
    clients = [connect() for _ in range(PLACES)]
    free = time.monotonic() - began
    for i, client in enumerate(clients):
        client.echo(TEXT, b"place %d" % i)
    for client in clients:
        client.close()
    return "all free after %.2f s" % free


def text(n):
    """n bytes of UTF-8: one to four bytes a character, at every offset to any buffer."""
    random.seed(n)
    unit = "".join(random.choices("aä€😀 ", k=997)).encode()
    data = (unit * (n // len(unit) + 1))[:n]
    data = data.decode(errors="ignore").encode()
    return data + b"." * (n - len(data))


def rate(began, n):
    return "%.1f MB/s each way" % (n / (time.monotonic() - began) / 1e6)


# ---- the checks ----


@check
def the_page():
    with open(PAGE, "rb") as f:
        page = f.read()
    for half in (False, True):
        with dial() as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: board\r\n\r\n")
            if half:
                s.shutdown(socket.SHUT_WR)  # what is on its way still has to arrive
            got = b"".join(iter(lambda: s.recv(65536), b""))
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head[:80]
        assert b"content-length: %d" % len(page) in head.lower(), head
        assert body == page, "%d of %d bytes, half-closed: %s" % (len(body), len(page), half)


@check
def messages_and_closing():
    client = connect()
    for payload in (b"", b"x", "grüße".encode(), text(125), text(126), text(3000), text(65536)):
        client.echo(TEXT, payload)
        client.echo(BINARY, payload)
    client.socket.sendall(frame(TEXT, b"one ", False) + frame(PING, b"?") + frame(CONTINUATION, b"two"))
    frames = [client.frame() for _ in range(3)]
    assert (1, PONG, b"?") in frames, frames
    assert b"".join(f[2] for f in frames if f[1] != PONG) == b"one two", frames
    client.close()


@check
def a_close_and_the_end_at_once():
    for _ in range(20):
        client = connect()
        client.socket.sendall(frame(BINARY, b"x" * 3000) + frame(CLOSE, b"\x03\xe8"))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.message() == (BINARY, b"x" * 3000)
        assert client.frame() == (1, CLOSE, b"\x03\xe8")
        assert client.stream.read() == b""
        client.drop()


@check
def binary_of_4_mib():
    client, began = connect(), time.monotonic()
    client.echo(BINARY, os.urandom(4 * MIB))
    took = rate(began, 4 * MIB)
    client.close()
    return took


@check
def text_of_4_mib():
    client, began = connect(), time.monotonic()
    client.echo(TEXT, text(4 * MIB))
    took = rate(began, 4 * MIB)
    client.close()
    return took


@check
def four_at_once():
    clients, began = [connect() for _ in range(PLACES)], time.monotonic()

    def each(client):
        client.echo(BINARY, os.urandom(MIB))
        client.echo(TEXT, text(MIB))

    together(*(lambda c=c: each(c) for c in clients))
    took = rate(began, PLACES * 2 * MIB)
    for client in clients:
        client.close()
    return took


@check
def a_fifth_is_refused():
    clients = [connect() for _ in range(PLACES)]
    try:
        Client().drop()
        raise AssertionError("there was a fifth place")
    except Refused:
        pass
    for client in clients:
        client.echo(TEXT, b"still here")
    clients.pop().close()
    clients.append(connect())
    for client in clients:
        client.close()


@check
def a_slow_reader_disturbs_nobody():
    slow, quick = connect(receive_buffer=4096), connect()
    payload = os.urandom(MIB // 4)
    sending = threading.Thread(target=slow.send, args=(frame(BINARY, payload),), daemon=True)
    sending.start()
    time.sleep(1)  # by now everything between here and there is full
    began = time.monotonic()
    for _ in range(100):
        quick.echo(TEXT, b"quick")
    took = time.monotonic() - began
    assert took < 5, "100 round trips took %.1f s" % took
    head = slow.read(10)
    got = b""
    while len(got) < len(payload):
        got += slow.read(min(8192, len(payload) - len(got)))
        time.sleep(0.01)
    assert head == struct.pack(">BBQ", 0x82, 127, len(payload)) and got == payload
    slow.close()
    quick.close()
    return "100 other round trips took %.2f s" % took


@check
def cuts_at_every_point():
    random.seed(0)
    whole = upgrade() + frame(TEXT, b"hello") + frame(BINARY, os.urandom(20000)) + frame(CLOSE, b"\x03\xe8")
    for i in range(200):
        time.sleep(0.005)  # QEMU accepts one after the other, and the kernel would retry after a second
        s = dial()
        try:
            s.sendall(whole[:random.choice((0, random.randrange(400), random.randrange(len(whole))))])
            if i % 3 == 1:
                s.settimeout(0.02)
                s.recv(random.randrange(1, 30000))
        except OSError:
            pass  # refused, or nothing came: cut all the same
        if i % 2:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.close()
    return all_serve()


@check
def resets_in_mid_message():
    for i in range(100):
        client = connect()
        client.socket.sendall(frame(TEXT if i % 2 else BINARY, text(10000), i % 4 < 2)[:random.randrange(2, 10000)])
        if i % 3:
            client.read(1)
        client.reset()
    return all_serve()


@check
def ends_in_mid_message():
    for i in range(100):
        client = connect()
        client.socket.sendall(frame(BINARY, text(10000))[:random.randrange(2, 10000)])
        if i % 2:
            client.socket.shutdown(socket.SHUT_WR)
            try:
                while client.stream.read(65536):
                    pass
            except ConnectionResetError:
                pass
        client.drop()
    return all_serve()


@check
def as_at_the_beginning():
    together(*(lambda: binary_of_4_mib() for _ in range(PLACES)))
    the_page()
    return all_serve()


def late(*_):
    raise TimeoutError("no end after %d s" % CHECK)


def main():
    signal.signal(signal.SIGALRM, late)
    failed = 0
    for function in checks:
        title, began = function.__name__.replace("_", " "), time.monotonic()
        signal.alarm(CHECK)
        try:
            note = function()
            print("ok    %-32s %5.1f s  %s" % (title, time.monotonic() - began, note or ""), flush=True)
        except Exception as e:
            failed += 1
            lines = [str(f.lineno) for f in traceback.extract_tb(e.__traceback__)]
            print("FAIL  %s: %s: %s (lines %s)" % (title, type(e).__name__, e, " > ".join(lines)), flush=True)
        finally:
            signal.alarm(0)
    print("%d passed, %d failed" % (len(checks) - failed, failed))
    sys.exit(1 if failed else 0)


main()
