#!/usr/bin/env python3
"""Takes the figures of the images in DIRECTORY, beside those of the other libraries, and prints them as a table.

    figures.py DIRECTORY

Fails where an answer is wrong, a figure is missing, instructions differ from one run to the next, or ours are more
than BOUNDS. Needs qemu-system-riscv32, and binutils for `size`; Python 3.8, stdlib.
"""
import base64
import contextlib
import hashlib
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

# Instructions of ours, a twentieth above what was measured.
BOUNDS = {
    ("receive", "binary", 128): 1020, ("echo", "binary", 128): 1465,
    ("echo", "ascii", 128): 1760, ("receive", "binary", 16384): 31000,
}
# A library's image, its codec, and its state, as the images call them.
PEERS = {
    "sansocket": ("sansocket", "sansocket", "sansocket-session"),
    "embedded-websocket 0.9.5": ("embedded_websocket", "embedded-websocket", "embedded-websocket"),
    "edge-ws 0.8.0": ("edge_ws", "edge-ws-io", "edge-ws"),
}
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/echo/page.html")
LATE = 60  # seconds until anything counts as stuck
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

directory = sys.argv[1]


# ---- the board ----


@contextlib.contextmanager
def board(image, *arguments):
    """Runs an image; gives a function that waits for so many lines that match, and returns their matches."""
    command = ["qemu-system-riscv32", "-M", "virt", "-cpu", "rv32,a=off,f=off,d=off", "-m", "16M", "-bios", "none",
               "-nographic", "-serial", "stdio", "-monitor", "none", *arguments,
               "-kernel", os.path.join(directory, image)]
    # Two files, for reading would move the place where QEMU writes.
    with tempfile.NamedTemporaryFile() as log, open(log.name) as printed:
        qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

        def lines(pattern, count=1):
            end = time.monotonic() + LATE
            while True:
                ended = qemu.poll() is not None
                printed.seek(0)
                text = printed.read()
                found = re.findall("^%s$" % pattern, text, re.M)
                if len(found) >= count:
                    return found
                if ended or time.monotonic() > end:
                    sys.exit("%s: no line %s:\n%s" % (image, pattern, text[-2000:]))
                time.sleep(0.05)

        try:
            yield lines
        finally:
            qemu.kill()
            qemu.wait()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def flash(image):
    sizes = subprocess.run(["size", "-A", os.path.join(directory, image)], check=True, stdout=subprocess.PIPE, text=True)
    found = dict(re.findall(r"^\.(text|rodata|data)\s+(\d+)", sizes.stdout, re.M))
    return sum(int(found[section]) for section in ("text", "rodata", "data"))


# ---- traffic ----


def frame(opcode, payload, fin=True, mask=b"\x37\xfa\x21\x3d"):
    n = len(payload)
    size = bytes([0x80 | n]) if n < 126 else struct.pack(">BH", 0xFE, n) if n < 65536 else struct.pack(">BQ", 0xFF, n)
    masks = (mask * (n // 4 + 1))[:n]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(masks, "big")
    return bytes([fin << 7 | opcode]) + size + mask + masked.to_bytes(n, "big")


KEY = base64.b64encode(bytes(16)).decode()
ACCEPT = base64.b64encode(hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()).decode()


def request(path):
    return ("GET %s HTTP/1.1\r\nHost: board\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n" % (path, KEY)).encode()


# What is sent, and the messages that have to come back, whatever their frames.
MIB = bytes(range(256)) * 4096
TRAFFIC = [
    (frame(TEXT, "grüße".encode()), (TEXT, "grüße".encode())),
    (frame(BINARY, b""), (BINARY, b"")),
    *[(frame(BINARY, MIB[:n]), (BINARY, MIB[:n])) for n in (1, 125, 126, 128, 500, 3000)],
    (frame(PING, b"there?"), (PONG, b"there?")),
    (frame(TEXT, b"one, ", False) + frame(CONTINUATION, "zwei für ".encode(), False) + frame(CONTINUATION, b"three"),
     (TEXT, "one, zwei für three".encode())),
    (frame(BINARY, MIB), (BINARY, MIB)),
    (frame(CLOSE, b"\x03\xe8"), (CLOSE, b"\x03\xe8")),
]


class Client:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), LATE)
        self.stream = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def send(self, data):
        """Beside the reader, for no message fits the board."""
        threading.Thread(target=self.socket.sendall, args=(data,), daemon=True).start()

    def read(self, n):
        data = self.stream.read(n)
        assert len(data) == n, "the stream ended after %d of %d bytes" % (len(data), n)
        return data

    def head(self):
        lines = list(iter(lambda: self.stream.readline().strip(), b""))
        return lines[0].decode(), {line.split(b":")[0].lower(): line.split(b":", 1)[1].strip() for line in lines[1:]}

    def message(self):
        kind, parts = None, []
        while True:
            first, n = self.read(2)
            assert first & 0x70 == 0 and n < 128, "%#x %#x is no frame of a server" % (first, n)
            if n > 125:
                n, = struct.unpack(">H" if n == 126 else ">Q", self.read(2 if n == 126 else 8))
            assert (kind is None) == (first & 15 != CONTINUATION), "opcode %d" % (first & 15)
            kind = first & 15 if kind is None else kind
            parts.append(self.read(n))
            if first & 0x80:
                return kind, b"".join(parts)


def websocket(port):
    with Client(port) as client:
        client.send(request("/nothing"))
        status, _ = client.head()
        assert status.startswith("HTTP/1.1 404 "), status
    with Client(port) as client:
        client.send(request("/ws"))
        status, fields = client.head()
        assert status.startswith("HTTP/1.1 101"), status
        assert fields[b"sec-websocket-accept"].decode() == ACCEPT, fields
        for sent, expected in TRAFFIC:
            client.send(sent)
            got = client.message()
            assert got == expected, "%r and so on came back for %r" % (got[1][:20], expected[1][:20])
        assert client.stream.read() == b"", "something came behind the Close"


def plain(port):
    with Client(port) as client:
        client.send(request("/nothing"))
        assert client.read(len(request("/nothing"))) == request("/nothing")
    with Client(port) as client:
        for sent, _ in TRAFFIC:
            client.send(sent)
            assert client.read(len(sent)) == sent


def served(image, traffic):
    """(future, buffers in it, stack of the task, stack of all) after traffic."""
    port = free_port()
    network = "user,id=n0,hostfwd=tcp:127.0.0.1:%d-:80" % port
    with board(image, "-netdev", network, "-device", "virtio-net-device,netdev=n0") as lines:
        lines("listening")
        traffic(port)
        found = lines(r"served: future (\d+) buffers (\d+) stack (\d+) of (\d+)", 2)
        return [max(int(n) for n in column) for column in zip(*found)]


# ---- the table ----


def codecs():
    """What the codecs print, twice the same: sizes, and instructions."""
    runs = []
    for _ in range(2):
        with board("codec", "-icount", "shift=0") as lines:
            lines("done")
            runs.append((lines(r"size (\S+) (\d+)"), lines(r"instructions (\S+) (\S+) (\S+) (\d+) (\d+)")))
    assert runs[0] == runs[1], "two runs differ"
    sizes, counts = runs[0]
    return {name: int(n) for name, n in sizes}, {
        (codec, work, kind, int(size)): int(n) for codec, work, kind, size, n in counts}


def row(title, *cells):
    print("| %s | %s |" % (title, " | ".join("{:,}".format(c) if isinstance(c, int) else c for c in cells)))


def main():
    images = {name: image for name, (image, _, _) in PEERS.items()}
    base = flash("tcp")
    tcp = served("tcp", plain)
    boards = [served(image, websocket) for image in images.values()]
    sizes, counts = codecs()
    with board("rules") as lines:
        lines("done")
        notices = dict(lines(r"notices (\S+) (.*)"))
    names = [codec for _, codec, _ in PEERS.values()]
    state = [sizes[state] for _, _, state in PEERS.values()]
    state[0] = "{:,} (connection {:,})".format(state[0], sizes["sansocket-connection"])

    def per_byte(codec, kind):
        return "%.2f" % ((counts[codec, "receive", kind, 16384] - counts[codec, "receive", kind, 1024]) / (16384 - 1024))

    row("riscv32imc, `s`", *PEERS)
    row("---", *["---"] * len(PEERS))
    row("flash, beyond a plain TCP echo", *[flash(image) - base for image in images.values()])
    row("the same, with feature `small`", flash("sansocket-small") - base, "", "")
    row("RAM: state", *state)
    row("RAM: buffers of the image", *[buffers for _, buffers, _, _ in boards])
    row("RAM: the task but for these buffers and TCP", *[future - buffers for future, buffers, _, _ in boards])
    row("stack: the connection's task", *[own for _, _, own, _ in boards])
    row("stack: the whole board (TCP echo: {:,})".format(tcp[3]), *[whole for _, _, _, whole in boards])
    for kind, title in (("binary", "binary"), ("ascii", "text, ASCII"), ("mixed", "text, mixed")):
        row("instructions a byte received, %s" % title, *[per_byte(codec, kind) for codec in names])
    for work in ("receive", "echo"):
        for kind, title in (("binary", "binary"), ("ascii", "text")):
            row("instructions, frame of 128 bytes, %s, %s" % (title, work),
                *[counts[codec, work, kind, 128] for codec in names])
    row("violations noticed", *[notices[codec.replace("-io", "")] for codec in names])
    print()
    page = os.path.getsize(PAGE)
    example = served("example", websocket)
    print("With the handler of examples/echo: flash {:,} and its page of {:,}, task {:,}, stack {:,}, of the board {:,}."
          .format(flash("example") - base - page, page, example[0] - example[1], example[2], example[3]))
    print("edge-ws without its I/O, frame of 128 bytes, binary: receive {:,}, echo {:,}; a byte received {}.".format(
        counts["edge-ws", "receive", "binary", 128], counts["edge-ws", "echo", "binary", 128],
        per_byte("edge-ws", "binary")))
    failed = False
    for (work, kind, size), bound in BOUNDS.items():
        n = counts["sansocket", work, kind, size]
        if n > bound:
            failed = True
            print("FAILED: %s of %d bytes, %s, takes %d instructions, at most %d" % (work, size, kind, n, bound))
    sys.exit(failed)


main()
