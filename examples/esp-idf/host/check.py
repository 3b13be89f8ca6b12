#!/usr/bin/env python3
"""The component over lwIP, end to end: run.sh check.py PROGRAM. Python 3.8+, nothing to install.

Every check has a server of its own; a line for each, exit code 1 if one failed.
"""
import errno
import os
import queue
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../tests/peers"))
import wire  # noqa: E402
from check import check, equal, run, together  # noqa: E402
from wire import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Client, frame, read_head, request, rest  # noqa: E402

PROGRAM = os.path.abspath(sys.argv[1])
V4, V6 = "192.0.2.2", "2001:db8::2"
SECONDS = 20  # for whatever is waited for; all of it takes moments
KIB, MIB = 1 << 10, 1 << 20

if {name for _, name in socket.if_nameindex()} != {"lo", "tap0"}:
    sys.exit("this is no network of its own: use run.sh")


class Server:
    """The program, with settings as in sansocket.h; it has to live until the end of the check."""

    def __init__(self, **settings):
        self.connections = settings.setdefault("connections", 4)
        self.process = subprocess.Popen([PROGRAM] + ["%s=%d" % s for s in settings.items()], text=True, bufsize=1,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lines, self.seen = queue.Queue(), []
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def __enter__(self):
        try:
            self.expect("listening")
        except BaseException:
            self.process.kill()
            raise
        return self

    def __exit__(self, *_):
        alive = self.process.poll() is None
        self.process.kill()
        self.process.wait()
        # Whatever went wrong before is then only what comes of it.
        assert alive, "the server has ended: %d, after %s" % (self.process.returncode, self.seen[-3:])

    def expect(self, start):
        """The rest of the next line that starts so; others are passed over."""
        while True:
            line = self.lines.get(timeout=SECONDS)
            assert line is not None, "the server has ended: %s" % self.seen[-3:]
            self.seen.append(line)
            if line.startswith(start):
                return line[len(start):].strip()

    def tell(self, order):
        self.process.stdin.write(order + "\n")
        return self.expect(order.split()[0] + (" " if " " in order else ""))

    def memory(self):
        """Bytes of malloc, lwIP's included, and the number that the next socket would have."""
        used, number = self.tell("memory").split()
        return int(used), int(number)

    def stopped(self, meanwhile, seconds):
        """Stops the program and lwIP with it, does something a little later, and lets it go on so many seconds after."""
        self.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        meanwhile()
        time.sleep(seconds)
        self.process.send_signal(signal.SIGCONT)

    def released(self):
        return sum(line == "released" for line in self.seen)

    def all_serve(self):
        wire.all_serve(patient, self.connections)


def dial(host=V4, port=80, receive_buffer=None):
    return wire.dial(host, port, SECONDS, receive_buffer)


def connect(**where):
    return Client(dial(**where))


def bind_when_free(s, port):
    """Waits until the kernel has had the ACK of the last FIN from this port."""
    for _ in range(SECONDS * 100):
        try:
            return s.bind(("", port))
        except OSError as e:
            if e.errno != errno.EADDRINUSE:
                raise
            time.sleep(0.01)
    raise AssertionError("port %d stays in use" % port)


def patient(**where):
    return wire.patient(lambda: dial(**where), 503, SECONDS)


@check("echo: every length form, text and binary, over IPv4 and IPv6")
def echo():
    with Server():
        for host in (V4, V6):
            client = connect(host=host)
            for n in (0, 1, 125, 126, 3000, 65535, 65536):
                client.echo(TEXT, b"x" * n)
                client.echo(BINARY, os.urandom(n))
            client.close()


@check("4 MiB stream through 1 KiB, four times at once")
def stream():
    with Server() as server:
        def one():
            client = connect()
            client.echo(BINARY, os.urandom(4 * MIB))
            client.close()

        together(*[one] * server.connections)


@check("request and frames cut at every byte, and byte by byte")
def segments():
    sent = request() + frame(TEXT, b"Hello") + frame(BINARY, b"x" * 200) + frame(PING, b"p") + frame(CLOSE, b"\x03\xe8")
    want = b"\x81\x05Hello\x82\x7e\0\xc8" + b"x" * 200 + b"\x8a\x01p\x88\x02\x03\xe8"
    with Server() as server:
        for cuts in [(n,) for n in range(1, len(sent))] + [tuple(range(1, len(sent)))]:
            with dial() as s:
                for start, end in zip((0,) + cuts, cuts + (len(sent),)):
                    s.sendall(sent[start:end])
                    time.sleep(0.001)
                equal((cuts[0], read_head(s)[0]), (cuts[0], 101))
                equal((cuts[0], rest(s)), (cuts[0], want))
        server.all_serve()


@check("fragments, with a ping between them")
def fragments():
    with Server():
        client = connect()
        for n in (1, 100, 5000):
            part = os.urandom(n)
            client.socket.sendall(frame(BINARY, part, False) + frame(PING, b"?") + frame(CONTINUATION, part, False))
            client.socket.sendall(frame(CONTINUATION, b""))
            got = b""
            pongs, fin = 0, 0
            while not fin:
                last, opcode, payload = client.frame()
                if opcode == PONG:
                    equal(payload, b"?")
                    pongs += 1
                else:
                    got, fin = got + payload, last
            equal((pongs, got == part * 2), (1, True))
        client.close()


@check("a slow reader: others are served, memory is bounded, and the write deadline ends it")
def slow_reader():
    with Server(write=3, queue_bytes=8 * KIB) as server:
        other = connect()
        other.echo(TEXT, b"there")
        before, _ = server.memory()
        slow = connect(receive_buffer=4096)
        slow.send(frame(BINARY, os.urandom(MIB)))
        time.sleep(1)  # by now everything between here and there is full
        for i in range(100):
            other.echo(TEXT, b"quick")
            equal(server.tell("broadcast " + "b" * KIB), "0")
            equal(other.message(), (TEXT, b"b" * KIB))
        # TCP's two buffers of 64 KiB, twice as large with what malloc and pbufs take; our own are small beside them
        grown = server.memory()[0] - before
        assert grown < 320 * KIB, "%d bytes" % grown
        assert "the peer reads nothing" in server.expect("ws_echo_server: Closed:"), server.seen[-1]
        other.echo(TEXT, b"still there")
        other.close()
        slow.drop()
        server.all_serve()


@check("100 resets in mid-message leave every place and every socket free")
def resets():
    with Server() as server:
        server.all_serve()
        _, number = server.memory()
        for i in range(100):
            client = patient()
            # Eight bytes are its header, of which nothing is echoed.
            cut = random.randrange(9 if i % 3 else 2, 10000)
            client.socket.sendall(frame(BINARY, os.urandom(10000), i % 4 < 2)[:cut])
            if i % 3:
                client.read(1)
            client.reset()
        server.all_serve()
        equal(server.memory()[1], number)


@check("after a half close the echo comes, then the end")
def half_close():
    with Server() as server:
        for _ in range(20):
            with dial() as s:
                s.sendall(request() + frame(BINARY, b"x" * 3000) + frame(CLOSE, b"\x03\xe8"))
                s.shutdown(socket.SHUT_WR)
                equal(read_head(s)[0], 101)
                equal(rest(s), b"\x82\x7e" + struct.pack(">H", 3000) + b"x" * 3000 + b"\x88\x02\x03\xe8")
            client = patient()
            client.socket.sendall(frame(TEXT, b"Hello"))
            client.socket.shutdown(socket.SHUT_WR)
            equal(client.message(), (TEXT, b"Hello"))
            client.rest()
            client.drop()
            with dial() as s:
                s.sendall(request()[:60])
                s.shutdown(socket.SHUT_WR)
                while s.recv(1000):
                    pass
        server.all_serve()


@check("a client can use its port again, of which the server remembers a connection in TIME-WAIT")
def same_port():
    with Server() as server:
        for family, host in ((socket.AF_INET, V4), (socket.AF_INET6, V6)):
            port = 0
            for _ in range(3):
                with socket.socket(family) as s:
                    s.settimeout(SECONDS)
                    bind_when_free(s, port)
                    port = s.getsockname()[1]
                    s.connect((host, 80))
                    s.sendall(request() + frame(CLOSE, b"\x03\xe8"))
                    equal((read_head(s)[0], rest(s)), (101, b"\x88\x02\x03\xe8"))
        server.all_serve()


@check("at the limit: 503, one at a time, and each place is free again later")
def limit():
    with Server(connections=3, waiting=1, handshake=2) as server:
        for _ in range(3):
            held = [patient() for _ in range(3)]
            for _ in range(3):
                with dial() as s:
                    s.sendall(request())
                    equal(read_head(s)[0], 503)
                    rest(s)
            with dial() as mute, dial() as waits:
                waits.sendall(request())  # the place of those that wait is taken by one who says nothing
                while mute.recv(1000):
                    pass
                equal(read_head(waits)[0], 503)
            for client in held:
                client.echo(TEXT, b"still here")
            held.pop().close()
            held.append(patient())
            for client in held:
                client.close()
        server.all_serve()


@check("broadcast, send and close from another thread")
def wake():
    with Server() as server:
        clients = [connect(), connect(host=V6)]
        for i in range(200):
            equal(server.tell("broadcast number %d" % i), "0")
            for client in clients:
                equal(client.message(), (TEXT, b"number %d" % i))
        first, second = server.tell("clients").split()
        equal(server.tell("send %s to one" % second), "0")
        equal(clients[1].message(), (TEXT, b"to one"))
        equal(server.tell("close %s 4000" % first), "0")
        equal(clients[0].frame(), (1, CLOSE, struct.pack(">H", 4000)))
        clients[0].socket.sendall(frame(CLOSE, struct.pack(">H", 4000)))
        equal(clients[0].rest(), b"")
        clients[0].drop()
        while first in server.tell("clients").split():
            time.sleep(0.02)
        clients[0] = connect()  # in the same place
        assert first not in server.tell("clients").split()
        for order in ("send %s for the dead", "close %s 4000"):
            equal(server.tell(order % first), "0")
        clients[0].echo(TEXT, b"not meant")
        equal(server.tell("close %s 1006" % second), "-3")
        for client in clients:
            client.close()


@check("a full queue is an error at once")
def full():
    with Server(commands=4, queue=8) as server:
        client = connect()
        server.tell("hold")
        client.socket.sendall(frame(TEXT, b"has to be logged"))
        time.sleep(0.5)  # by now the loop stands still
        results = [server.tell("broadcast %d" % i) for i in range(8)]
        equal(results, ["0"] * 4 + ["-1"] * 4)
        server.tell("resume")
        equal(client.message(), (TEXT, b"has to be logged"))
        for i in range(4):
            equal(client.message(), (TEXT, b"%d" % i))
        client.close()


@check("connections of another server are adopted, and released once")
def adopt():
    with Server() as server:
        server.all_serve()
        number = server.memory()[1]
        for i in range(30):
            client = patient(port=81)
            equal(server.expect("adopted"), "0")
            client.echo(BINARY, os.urandom(5000))
            if i % 3 == 0:
                client.close()
            elif i % 3 == 1:
                client.reset()
            else:
                client.socket.sendall(frame(BINARY, b"x" * 5000)[:-1])
                client.drop()
            server.expect("released")
        held = [connect() for _ in range(server.connections)]
        late = connect(port=81)
        equal(late.rest(), b"")  # there is no place
        server.expect("released")
        for client in held:
            client.close()
        server.all_serve()
        equal((server.memory()[1], server.released()), (number, 31))


@check("stop and start again: each client gets a Close, and nothing leaks")
def restart():
    with Server() as server:
        after = []
        for _ in range(6):
            clients, adopted = [connect() for _ in range(2)], connect(port=81)
            for client in clients + [adopted]:
                client.echo(TEXT, b"here")
            server.process.stdin.write("stop\n")
            for client in clients + [adopted]:
                equal(client.frame(), (1, CLOSE, struct.pack(">H", 1001)))
                client.socket.sendall(frame(CLOSE, struct.pack(">H", 1001)))
                equal(client.rest(), b"")
                client.drop()
            equal(server.expect("stop "), "-2")  # what it is asked for then
            try:
                dial().close()
                raise AssertionError("it still listens")
            except ConnectionRefusedError:
                pass
            after.append(server.memory())
            server.process.stdin.write("start\n")
            server.expect("listening")
        equal((len({number for _, number in after}), server.released()), (1, 6))
        grown = after[-1][0] - after[1][0]
        assert grown < 16 * KIB, "%d bytes in 4 times" % grown
        server.all_serve()


@check("suspended beyond every deadline: input that came meanwhile is read, silent peers are disconnected")
def stop():
    away = (1, CLOSE, struct.pack(">H", 1001))

    def after_pings(client):
        got = client.frame()
        while got[1] == PING:
            got = client.frame()
        return got

    def pong():
        with Server(ping=1, pong=2) as server:
            alive, silent = connect(), connect()
            for client in (alive, silent):
                equal(client.frame(), (1, PING, b""))
            server.stopped(lambda: alive.socket.sendall(frame(PONG, b"") + frame(TEXT, b"here")), 4)
            equal(after_pings(alive), (1, TEXT, b"here"))
            equal(silent.frame(), away)

    def handshake():
        with Server(handshake=2) as server, dial() as whole, dial() as half:
            sent = request(add=["X: " + "x" * 600])
            for s in (whole, half):
                s.sendall(sent[:100])
            server.stopped(lambda: whole.sendall(sent[100:]), 4)
            equal((read_head(whole)[0], read_head(half)[0]), (101, 408))

    def close():
        with Server(close=2) as server:
            for answer, end in ((frame(CLOSE, b"\x0f\xa0"), "closed cleanly"), (b"", "a Close was not answered")):
                client = connect()
                client.echo(TEXT, b"here")
                equal(server.tell("close %s 4000" % server.tell("clients").split()[0]), "0")
                equal(client.frame(), (1, CLOSE, b"\x0f\xa0"))
                # The answer stands behind what was on its way.
                server.stopped(lambda: client.socket.sendall(frame(BINARY, b"x" * 2500) + answer), 4)
                said = server.expect("ws_echo_server: Closed:")
                assert end in said, said

    def write():
        with Server(write=2) as server:
            payload = os.urandom(MIB)
            reads, deaf = connect(receive_buffer=4096), connect(receive_buffer=4096)
            for client in (reads, deaf):
                client.send(frame(BINARY, payload))
            time.sleep(1)  # by now everything between here and there is full
            got = queue.Queue()
            reading = threading.Thread(target=lambda: got.put(reads.message()), daemon=True)
            server.stopped(reading.start, 4)
            assert got.get(timeout=SECONDS) == (BINARY, payload)
            assert "the peer reads nothing" in server.expect("ws_echo_server: Closed:"), server.seen[-1]

    for each in (pong, handshake, close, write):
        each()


run()
