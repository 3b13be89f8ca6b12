#!/usr/bin/env python3
"""PyPI websocket-client, the client that ESP-IDF's example is tested with, against the echo server.

  websocket_client.py ws://127.0.0.1:PORT [--ca FILE]

--ca: the authority, in PEM, that vouches for a server with TLS, wss://127.0.0.1:PORT.
"""
import argparse
import os
import threading
import time

from websocket import ABNF, WebSocketBadStatusException, create_connection

from check import check, equal, run

ap = argparse.ArgumentParser()
ap.add_argument("url")
ap.add_argument("--ca")
args = ap.parse_args()
BASE = args.url.rstrip("/")
TEXT, BINARY, CLOSE, PING, PONG = (ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY, ABNF.OPCODE_CLOSE, ABNF.OPCODE_PING,
                                   ABNF.OPCODE_PONG)


def connect(path="/ws", **options):
    return create_connection(BASE + path, timeout=10, sslopt={"ca_certs": args.ca}, **options)


def echo(ws, opcode, data):
    ws.send(data, opcode)
    equal(ws.recv_data(), (opcode, data))


def close(ws, code=1000, reason=b""):
    """The server answers with the same code and closes TCP first, at once."""
    ws.send_close(code, reason)
    expect_close(ws, code)


def expect_close(ws, code):
    opcode, data = ws.recv_data()  # sends one more Close in answer: to a socket that is closed it brings a reset
    equal((opcode, data[:2]), (CLOSE, code.to_bytes(2, "big")))
    ws.settimeout(3)
    try:
        equal(ws.sock.recv(1), b"")
    except ConnectionResetError:
        pass
    ws.shutdown()


def status(path):
    try:
        connect(path).close()
        return 101
    except WebSocketBadStatusException as e:
        return e.status_code


@check("text is echoed, empty and beyond ASCII")
def text():
    ws = connect()
    for t in ("Hello", "", "grüße, 世界 🎉", "x" * 125, "x" * 126, "x" * 65535, "x" * 65536):
        echo(ws, TEXT, t.encode())
    close(ws)


@check("binary is echoed as binary, empty too")
def binary():
    ws = connect()
    for b in (b"", bytes(range(256)), b"Trigger async", b"\0" * 70000):
        echo(ws, BINARY, b)
    close(ws)


@check("1 MiB is echoed")
def mebibyte():
    ws = connect()
    for opcode, data in ((BINARY, os.urandom(1 << 20)), (TEXT, b"0123456789abcdef" * (1 << 16))):
        # A server with small buffers echoes while it receives, so read while sending; not over TLS, where an SSL object of
        # Python before 3.13 must not be used by two threads, and where TCP's own buffers have to do.
        sender = threading.Thread(target=ws.send, args=(data, opcode), daemon=True)
        sender.start()
        if args.ca:
            sender.join()
        equal(ws.recv_data(), (opcode, data))
        sender.join()
    close(ws)


@check("100 messages at once come back in order")
def pipelined():
    ws = connect()
    for i in range(100):
        ws.send("message %d" % i)
    equal([ws.recv() for _ in range(100)], ["message %d" % i for i in range(100)])
    close(ws)


@check("a fragmented message is echoed, a ping between the fragments answered")
def fragmented():
    ws = connect()
    for fin, opcode, data in ((0, TEXT, b"one, "), (0, ABNF.OPCODE_CONT, "zw\u00f6lf".encode()[:3]), (1, PING, b"between"),
                              (1, ABNF.OPCODE_CONT, "zw\u00f6lf".encode()[3:])):
        ws.send_frame(ABNF(fin, 0, 0, 0, opcode, 1, data))
    got, pongs = b"", []
    while True:
        frame = ws.recv_frame()
        if frame.opcode == PONG:
            pongs.append(frame.data)
        else:
            equal(frame.opcode, ABNF.OPCODE_CONT if got else TEXT)
            got += frame.data
            if frame.fin:
                break
    equal((got, pongs), ("one, zw\u00f6lf".encode(), [b"between"]))
    close(ws)


@check("a ping gets a pong with its payload")
def ping():
    ws = connect()
    for payload in (b"", b"p", b"q" * 125):
        ws.ping(payload)
        opcode, frame = ws.recv_data_frame(control_frame=True)
        equal((opcode, frame.data), (PONG, payload))
    close(ws)


@check("close is answered with its code, then TCP is closed")
def closing():
    for code in (1000, 1001, 1011, 3000, 4999):
        close(connect(), code, b"bye")


@check("subprotocol: the server's preference, exact names")
def subprotocol():
    for offer, agreed in ((["echo"], "echo"), (["chat"], "chat"), (["x", "echo"], "echo"), (["echo", "chat"], "chat")):
        ws = connect(subprotocols=offer)
        equal(ws.getsubprotocol(), agreed)
        close(ws)


@check("/auth: 401 without the token, a welcome with it")
def auth():
    for path in ("/auth", "/auth?token=wrong", "/auth?token=", "/auth?token=valid2", "/auth?x=token=valid"):
        equal((path, status(path)), (path, 401))
    for path in ("/auth?token=valid", "/auth?a=b&token=valid"):
        ws = connect(path)
        equal(ws.recv(), "Welcome to the WebSocket Echo Server (post-handshake)!")
        echo(ws, TEXT, b"after")
        close(ws)


@check("an unknown path is 404")
def unknown():
    for path in ("/nowhere", "/ws/", "/wsx", "/ws%20"):
        equal((path, status(path)), (path, 404))


@check("/ws_partial: 200 bytes come in frames of 64, 64, 64, 8")
def partial():
    ws = connect("/ws_partial")
    for opcode in (TEXT, BINARY):
        data = bytes(b"abcdefghijklmnopqrstuvwxyz"[i % 26] for i in range(200))
        ws.send(data, opcode)
        frames = [ws.recv_frame() for _ in range(4)]
        equal([(f.fin, f.opcode, len(f.data)) for f in frames],
              [(0, opcode, 64), (0, 0, 64), (0, 0, 64), (1, 0, 8)])
        equal(b"".join(f.data for f in frames), data)
    echo(ws, TEXT, b"short")
    close(ws)


@check('"Trigger async": no echo, "Async data" later')
def trigger():
    ws = connect()
    for t in ("Trigger async", "Trigger async and more"):
        ws.send(t)
        equal(ws.recv(), "Async data")
    echo(ws, TEXT, b"Trigger asyn")
    echo(ws, TEXT, b" Trigger async")
    close(ws)


@check('"Ping": no echo, a protocol ping')
def protocol_ping():
    ws = connect()
    for t in ("Ping", "Ping me"):
        ws.send(t)
        opcode, _ = ws.recv_data_frame(control_frame=True)  # answers with the pong
        equal(opcode, PING)
    echo(ws, TEXT, b"Pin")
    close(ws)


@check("the server continues after a peer disconnects")
def vanish():
    for _ in range(5):
        ws = connect()
        ws.send_frame(ABNF(0, 0, 0, 0, TEXT, 1, b"half a message"))
        ws.shutdown()
    time.sleep(0.1)
    ws = connect()
    echo(ws, TEXT, b"still there")
    close(ws)


@check("an unmasked frame is answered by close 1002")
def unmasked():
    ws = connect()
    ws.sock.sendall(b"\x81\x05Hello")
    expect_close(ws, 1002)


run()
