#!/usr/bin/env python3
"""End to end against the board: check.py [URL-OR-PORT [PID]], default 8080. Python 3.8+, nothing to install.

With the process id of QEMU, the board is also stopped and continued.

A line for each check, none of which takes longer than CHECK seconds; exit code 1 if one failed.
"""
import os
import random
import signal
import socket
import struct
import sys
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../tests/peers"))
import wire  # noqa: E402
from check import check, equal, run, together  # noqa: E402
from wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Client, Refused, frame, read_head, request, reset, rest  # noqa: E402

PLACES = 4  # the board's sockets
SOCKET = 15  # seconds without a byte
FREE = 10  # seconds until a place is given back
CHECK = 90  # seconds for one check
HANDSHAKE, PING_AFTER, PONG_WITHIN = 5, 20, 10  # the board's deadlines
MIB = 1 << 20

where = sys.argv[1] if len(sys.argv) > 1 else "8080"
url = urllib.parse.urlsplit("ws://127.0.0.1:" + where if where.isdigit() else where if "//" in where else "//" + where)
HOST, PORT = url.hostname or "127.0.0.1", url.port or 80
QEMU = int(sys.argv[2]) if len(sys.argv) > 2 else None
PAGE = os.path.join(HERE, "../echo/page.html")


def dial(receive_buffer=None):
    return wire.dial(HOST, PORT, SOCKET, receive_buffer)


def connect(receive_buffer=None):
    return wire.patient(lambda: dial(receive_buffer), None, FREE)


def all_serve():
    return wire.all_serve(connect, PLACES)


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


@check("the page")
def the_page():
    with open(PAGE, "rb") as f:
        page = f.read()
    for half in (False, True):
        with dial() as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: board\r\n\r\n")
            if half:
                s.shutdown(socket.SHUT_WR)  # what is on its way still has to arrive
            got = rest(s)
        head, _, body = got.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head[:80]
        assert b"content-length: %d" % len(page) in head.lower(), head
        assert body == page, "%d of %d bytes, half-closed: %s" % (len(body), len(page), half)


@check("messages and closing")
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


@check("a close with the end of the stream at once")
def a_close_and_the_end_at_once():
    for _ in range(20):
        client = connect()
        client.socket.sendall(frame(BINARY, b"x" * 3000) + frame(CLOSE, b"\x03\xe8"))
        client.socket.shutdown(socket.SHUT_WR)
        assert client.message() == (BINARY, b"x" * 3000)
        assert client.frame() == (1, CLOSE, b"\x03\xe8")
        equal(client.rest(), b"")
        client.drop()


@check("binary of 4 MiB")
def binary_of_4_mib():
    client, began = connect(), time.monotonic()
    client.echo(BINARY, os.urandom(4 * MIB))
    took = rate(began, 4 * MIB)
    client.close()
    return took


@check("text of 4 MiB")
def text_of_4_mib():
    client, began = connect(), time.monotonic()
    client.echo(TEXT, text(4 * MIB))
    took = rate(began, 4 * MIB)
    client.close()
    return took


@check("four at once")
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


@check("a fifth is refused")
def a_fifth_is_refused():
    clients = [connect() for _ in range(PLACES)]
    try:
        Client(dial()).drop()
        raise AssertionError("there was a fifth place")
    except Refused as e:
        equal(e.args, (None,))
    for client in clients:
        client.echo(TEXT, b"still here")
    clients.pop().close()
    clients.append(connect())
    for client in clients:
        client.close()


@check("a slow reader disturbs nobody")
def a_slow_reader_disturbs_nobody():
    slow, quick = connect(receive_buffer=4096), connect()
    payload = os.urandom(MIB // 4)
    slow.send(frame(BINARY, payload))
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


@check("input cut at every byte")
def cuts_at_every_point():
    random.seed(0)
    whole = request() + frame(TEXT, b"hello") + frame(BINARY, os.urandom(20000)) + frame(CLOSE, b"\x03\xe8")
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
        reset(s) if i % 2 else s.close()
    return all_serve()


@check("resets in mid-message")
def resets_in_mid_message():
    for i in range(100):
        client = connect()
        client.socket.sendall(frame(TEXT if i % 2 else BINARY, text(10000), i % 4 < 2)[:random.randrange(2, 10000)])
        if i % 3:
            client.read(1)
        client.reset()
    return all_serve()


@check("ends in mid-message")
def ends_in_mid_message():
    for i in range(100):
        client = connect()
        client.socket.sendall(frame(BINARY, text(10000))[:random.randrange(2, 10000)])
        if i % 2:
            client.socket.shutdown(socket.SHUT_WR)
            try:
                client.rest()
            except ConnectionResetError:
                pass
        client.drop()
    return all_serve()


@check("the board serves as at the start")
def as_at_the_beginning():
    together(*(lambda: binary_of_4_mib() for _ in range(PLACES)))
    the_page()
    return all_serve()


def stopped(meanwhile, seconds):
    """Stops the board, does something a little later, and lets it go on so many seconds after: for its clock that is a
    jump, as QEMU's monitor, which stops the clock too, would not make it.
    """
    os.kill(QEMU, signal.SIGSTOP)
    time.sleep(0.3)
    meanwhile()
    time.sleep(seconds)
    os.kill(QEMU, signal.SIGCONT)


def stopped_in_a_request():
    whole, half, sent = dial(), dial(), request(add=["X: " + "x" * 600])
    for s in (whole, half):
        s.sendall(sent[:100])
    time.sleep(0.3)
    stopped(lambda: whole.sendall(sent[100:]), HANDSHAKE + 1)
    equal((read_head(whole)[0], read_head(half)[0]), (101, 408))
    whole.close()
    half.close()


def stopped_after_a_ping():
    alive, silent = connect(), connect()
    for client in (alive, silent):
        client.socket.settimeout(PING_AFTER + SOCKET)
        equal(client.frame(), (1, PING, b""))
    stopped(lambda: alive.socket.sendall(frame(PONG, b"") + frame(TEXT, b"here")), PONG_WITHIN + 0.5)
    got = alive.frame()
    while got[1] == PING:  # it was silent for long, too
        got = alive.frame()
    equal(got, (1, TEXT, b"here"))
    equal(silent.frame(), (1, CLOSE, struct.pack(">H", 1001)))
    alive.close()
    silent.drop()


if QEMU:
    check("stopped in a request: what came meanwhile is read")(stopped_in_a_request)
    check("stopped after a ping: the pong that came meanwhile counts")(stopped_after_a_ping)
run(CHECK)
