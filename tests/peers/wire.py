"""A WebSocket client of a few lines, for checks that look at every byte. Python 3.8+, the standard library alone."""
import base64
import hashlib
import os
import socket
import struct
import threading
import time

from check import equal

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
RFC_KEY, RFC_ACCEPT = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def accept_value(key):
    return base64.b64encode(hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def request(path="/ws", method="GET", version="HTTP/1.1", drop=(), add=(), end="\r\n", **change):
    """A right upgrade request; arguments make it wrong: Upgrade="x" changes, drop removes, add appends lines."""
    headers = {"Host": "127.0.0.1", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": RFC_KEY,
               "Sec-WebSocket-Version": "13"}
    headers.update((k.replace("_", "-"), v) for k, v in change.items())
    lines = ["%s %s %s" % (method, path, version)] + ["%s: %s" % h for h in headers.items() if h[0] not in drop]
    return (end.join(lines + list(add)) + end + end).encode("latin-1")


def frame(opcode, payload, fin=True):
    n, mask = len(payload), os.urandom(4)
    size = bytes([0x80 | n]) if n < 126 else struct.pack(">BH", 0xFE, n) if n < 65536 else struct.pack(">BQ", 0xFF, n)
    masks = (mask * (n // 4 + 1))[:n]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(masks, "big")
    return bytes([fin << 7 | opcode]) + size + mask + masked.to_bytes(n, "big")


def dial(host, port, seconds, receive_buffer=None):
    """A socket that waits so long for each byte."""
    s = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    s.settimeout(seconds)
    if receive_buffer:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    s.connect((host, port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def read_exactly(s, n):
    got = bytearray()
    while len(got) < n:
        piece = s.recv(min(n - len(got), 65536))
        assert piece, "the stream ended after %d of %d bytes: %r" % (len(got), n, bytes(got[:80]))
        got += piece
    return bytes(got)


def rest(s):
    """All bytes to the end of the stream."""
    return b"".join(iter(lambda: s.recv(65536), b""))


def parse(raw):
    """(status, [(name, value)], body) of the bytes of a response."""
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    assert lines[0].startswith("HTTP/1.1 "), "no response: %r" % raw[:80]
    return int(lines[0].split()[1]), [tuple(h.split(": ", 1)) for h in lines[1:]], body


def read_head(s):
    raw = b""
    while not raw.endswith(b"\r\n\r\n"):
        byte = s.recv(1)
        assert byte, "the stream ended within a head: %r" % raw
        raw += byte
    return parse(raw)


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


class Refused(Exception):
    """The status of an answer other than 101, or None: there was no answer, but the end."""


class Client:
    def __init__(self, s):
        self.socket = s
        try:
            s.sendall(request())
            answer = s.recv(1, socket.MSG_PEEK)
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
        status, headers, _ = read_head(s) if answer else (None, [], b"")
        if status != 101:
            raise Refused(status)
        assert ("Sec-WebSocket-Accept", RFC_ACCEPT) in headers, headers

    def read(self, n):
        return read_exactly(self.socket, n)

    def rest(self):
        return rest(self.socket)

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
            equal(opcode, CONTINUATION)
            parts.append(payload)
        return kind, b"".join(parts)

    def send(self, data):
        """In a thread, which is returned: what fits no server has to be received while it is sent."""
        def send():
            try:
                self.socket.sendall(data)
            except OSError:
                pass  # the receiver sees it as well
        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        return sending

    def echo(self, kind, payload):
        sending = self.send(frame(kind, payload))
        got = self.message()
        sending.join(self.socket.gettimeout())
        assert got == (kind, payload), "what came back is not what was sent"

    def close(self):
        """The closing handshake, to the end of the stream."""
        self.socket.sendall(frame(CLOSE, b"\x03\xe8"))
        equal(self.frame(), (1, CLOSE, b"\x03\xe8"))
        equal(self.rest(), b"")
        self.drop()

    def drop(self):
        self.socket.close()

    def reset(self):
        reset(self.socket)


def patient(dialed, busy, seconds):
    """A client of a socket from `dialed`; a place that was just given up may take a moment to be free. Until then it
    is refused with the status `busy`.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            return Client(dialed())
        except Refused as e:
            equal(e.args, (busy,))
            assert time.monotonic() < end, "no place came free within %d s" % seconds
            time.sleep(0.02)


def all_serve(connect, places):
    """Every place is free, echoes and closes; how long that took to come about."""
    began = time.monotonic()
    clients = [connect() for _ in range(places)]
    free = time.monotonic() - began
    for i, client in enumerate(clients):
        client.echo(TEXT, b"place %d" % i)
    for client in clients:
        client.close()
    return "all free after %.2f s" % free
