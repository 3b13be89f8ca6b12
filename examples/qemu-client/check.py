#!/usr/bin/env python3
"""The board as a client, end to end: check.py ECHO_SERVER, the PC's echo server as a program. Needs openssl.
Python 3.8+, nothing to install.

A line for each check, exit code 1 if one failed. All traffic is on loopback: QEMU's 10.0.2.2 is 127.0.0.1 here.
"""
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import unproved

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../tests/peers"))
from check import check, run  # noqa: E402
from wire import CLOSE, PING, accept_value  # noqa: E402

ECHO_SERVER = os.path.abspath(sys.argv[1])
PATIENCE = 60  # seconds for anything that is waited for
AT_ONCE = 3  # boards

# ---- processes ----


class Process:
    """A program whose lines are kept; it ends with the `with`."""

    def __init__(self, *command):
        self.lines, self.seen, self.more = [], 0, threading.Condition()
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                        errors="replace")
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            with self.more:
                self.lines.append(line.rstrip())
                self.more.notify()

    def expect(self, pattern, never="panicked|exception"):
        """The match of the next line with this pattern; none before it may match `never`."""
        end = time.monotonic() + PATIENCE
        with self.more:
            while True:
                for line in self.lines[self.seen:]:
                    self.seen += 1
                    match = re.search(pattern, line)
                    if match:
                        return match
                    assert not re.search(never, line), "%r came before %r" % (line, pattern)
                left = end - time.monotonic()
                assert left > 0 and self.process.poll() is None, "no %r in %s" % (pattern, self.lines[-8:])
                self.more.wait(min(left, 1))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Board(Process):
    def __init__(self, url, *settings, ca=None):
        tls = ("--ca", ca.path("ca.der")) if ca else ()
        super().__init__(HERE + "/run.sh", *tls, "url=" + url, "address=10.0.2.2", *settings)

    def done(self):
        self.expect("^done: closed cleanly, code 1000$", never="panicked|exception|failed|ended")


class Server(Process):
    """The echo server on a port of its choice, or on the same as before."""

    def __init__(self, port=0, certificate=None):
        tls = ("--tls-cert", certificate.path("cert.pem"), "--tls-key", certificate.path("key.pem")) if certificate else ()
        super().__init__(ECHO_SERVER, "--listen", "127.0.0.1:%d" % port, *tls)
        self.port = int(self.expect(r"listening: open https?://127\.0\.0\.1:(\d+)/")[1])
        self.url = "%s://echo.test:%d/ws" % ("wss" if certificate else "ws", self.port)

    def untouched(self):
        """No request has come through."""
        assert not any("GET" in line or "packet" in line for line in self.lines), self.lines


class Certificate:
    """An authority, and a server with a certificate from it."""

    def __init__(self, *names, days=30):
        self.directory = tempfile.TemporaryDirectory()
        subprocess.run([HERE + "/../tls/certificates.sh", self.directory.name, *names], check=True,
                       env={**os.environ, "DAYS": str(days)})

    def path(self, name):
        return os.path.join(self.directory.name, name)

    def forge(self, name):
        """What a server with such a certificate could do: sign another one with it, and show both."""
        def openssl(*arguments):
            subprocess.run(["openssl", *arguments], check=True, stderr=subprocess.DEVNULL, cwd=self.directory.name)
        with open(self.path("names"), "w") as f:
            f.write("subjectAltName=DNS:" + name)
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", "forged-key.pem",
                "-out", "forged.csr", "-subj", "/")
        openssl("x509", "-req", "-in", "forged.csr", "-CA", "cert.pem", "-CAkey", "key.pem", "-CAcreateserial",
                "-days", "30", "-sha256", "-extfile", "names", "-out", "forged.pem")
        chain = "".join(open(self.path(name)).read() for name in ("forged.pem", "cert.pem"))
        os.replace(self.path("forged-key.pem"), self.path("key.pem"))
        with open(self.path("cert.pem"), "w") as f:
            f.write(chain)
        return self


# ---- a server by hand ----


class Listener:
    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.settimeout(PATIENCE)
        self.url = "ws://10.0.2.2:%d/some/where?a=b" % self.socket.getsockname()[1]

    def accept(self):
        s, _ = self.socket.accept()
        s.settimeout(PATIENCE)
        return s

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()


class Peer:
    """A connection of the board, upgraded."""

    def __init__(self, listener, protocol=None):
        self.socket = listener.accept()
        self.stream = self.socket.makefile("rb")
        lines = [line.decode() for line in iter(lambda: self.stream.readline().strip(), b"")]
        self.request, self.fields = lines[0], dict(line.split(": ", 1) for line in lines[1:])
        answer = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
                  "Sec-WebSocket-Accept: " + accept_value(self.fields["Sec-WebSocket-Key"])]
        answer += ["Sec-WebSocket-Protocol: " + protocol] if protocol else []
        self.socket.sendall("\r\n".join(answer + ["", ""]).encode())

    def frame(self):
        """(opcode, masking key, payload) of a short frame."""
        first, n = self.stream.read(2)
        assert first & 0x80 and n & 0x80 and n & 0x7F < 126, (first, n)
        key = self.stream.read(4)
        masked = self.stream.read(n & 0x7F)
        return first & 15, key, bytes(b ^ key[i % 4] for i, b in enumerate(masked))

    def send(self, opcode, payload):
        self.socket.sendall(bytes([0x80 | opcode, len(payload)]) + payload)

    def end(self):
        self.stream.close()
        self.socket.close()

    def ended(self):
        """The board ends TCP, whatever it still sends."""
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionResetError:
            pass


class Way:
    """A way to a server of 127.0.0.1, for one client, on which everything comes in small pieces, and slowly."""

    def __init__(self, server):
        self.listener, self.server = socket.create_server(("127.0.0.1", 0)), server
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        try:
            self.client, _ = self.listener.accept()
            server = socket.create_connection(("127.0.0.1", self.server))
        except OSError:
            return  # nobody came
        for s in (self.client, server):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self.carry, args=(self.client, server), daemon=True).start()
        self.carry(server, self.client)

    def carry(self, source, target):
        try:
            for data in iter(lambda: source.recv(random.choice((1, 3, 7, 40, 1000))), b""):
                if random.random() < 0.05:
                    time.sleep(random.choice((0.002, 0.02)))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the other direction sees it too

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


# ---- the checks ----


def converses(server, ca=None):
    with server, Board(server.url, "protocol=echo", "messages=3", "every=200", ca=ca) as board:
        if ca:
            board.expect("^TLS: echo.test is who it says$")
        board.expect("^open, subprotocol echo$")
        board.expect("^echoed, as text and binary, up to 65536 bytes$")
        board.expect("^pong$")
        for n in (1, 2, 3):
            board.expect("^message %d$" % n)
        stack = board.expect("^stack: (.*)$")[1]
        board.done()
        server.expect("Closed: closed cleanly, code 1000")
        return "stack " + stack


@check("echoes over TCP")
def echoes_over_tcp():
    return converses(Server())


@check("echoes over TLS")
def echoes_over_tls():
    certificate = Certificate("echo.test")
    return converses(Server(certificate=certificate), certificate)


@check("a megabyte each way over TLS")
def a_megabyte_each_way_over_tls():
    certificate = Certificate("echo.test")
    with Server(certificate=certificate) as server:
        with Board(server.url, "large=1000000", "messages=1", ca=certificate) as board:
            board.expect("^echoed, as text and binary, up to 1000000 bytes$")
            board.done()


@check("TLS in pieces loses nothing")
def tls_in_pieces_loses_nothing():
    """Turns end in the middle of records, in both directions, all the time."""
    certificate = Certificate("echo.test")
    with Server(certificate=certificate) as server, Way(server.port) as way:
        url = "wss://echo.test:%d/ws" % way.port
        with Board(url, "large=20000", "every=3", "messages=200", ca=certificate) as board:
            board.expect("^message 200$", never="failed|ended")
            board.done()


@check("the request has what the settings say")
def the_request_is_as_it_was_set():
    with Listener() as listener, Board(listener.url, "protocol=chat", "header=Authorization: Basic dTpw", "large=0") as board:
        peer = Peer(listener, "chat")
        assert peer.request == "GET /some/where?a=b HTTP/1.1", peer.request
        fields = {name: peer.fields[name] for name in ("Host", "Authorization", "Sec-WebSocket-Protocol")}
        host = listener.url.split("/")[2]
        assert fields == {"Host": host, "Authorization": "Basic dTpw", "Sec-WebSocket-Protocol": "chat"}, fields
        board.expect("^open, subprotocol chat$")
        peer.send(PING, b"are you?")
        assert peer.frame()[::2] == (10, b"are you?")
        peer.send(CLOSE, struct.pack(">H", 1000))
        while peer.frame()[0] != CLOSE:
            pass
        peer.end()
        board.expect(r"^failed: Closed\(Ending \{ reason: Clean")


@check("masking keys never repeat")
def masking_keys_never_repeat():
    keys, nonces = set(), set()
    for _ in range(2):  # start afresh: a generator without a seed would begin with the same
        with Listener() as listener, Board(listener.url, "large=0", "every=5"):
            peer = Peer(listener)
            nonces.add(peer.fields["Sec-WebSocket-Key"])
            for _ in range(50):
                opcode, key, payload = peer.frame()
                keys.add(key)
                peer.send(opcode, payload)
    assert (len(keys), len(nonces)) == (100, 2), (len(keys), len(nonces))


@check("another response than 101 is a refusal")
def another_answer_is_a_refusal():
    with Server() as server, Board(server.url.replace("/ws", "/auth"), "large=0") as board:
        board.expect(r"^failed: WebSocket\(Refused\(401\)\)$", never="open")
        board.expect(r"^again in \d+ ms$")


def waits(board, ceilings):
    """What the board says it waits, each below its ceiling, in milliseconds."""
    found = []
    for ceiling in ceilings:
        found.append(int(board.expect(r"^again in (\d+) ms$", never="open|panicked")[1]))
        assert found[-1] < ceiling, (found, ceiling)
    return found


def comes_back(certificate=None):
    server = Server(certificate=certificate)
    with server, Board(server.url, "patience=4", "every=100", ca=certificate) as board:
        for n in (1, 60):  # five seconds, and the connection is a stable one
            board.expect("^message %d$" % n)
        server.kill()  # in the middle of whatever
        board.expect("^failed: ")
        found = waits(board, (1000, 2000, 4000, 4000, 4000))
        with Server(server.port, certificate):
            board.expect("^message 60$")
        board.expect("^failed: ")
        # Stable again: it begins with the first ceiling.
        again = waits(board, (1000, 2000))
        # A draw of seven from all below their ceilings: all the same, or all alike, it cannot be.
        assert len(set(found + again)) > 4, (found, again)
        return "waited %s ms, and %s" % (found, again)


@check("it connects again over TCP")
def it_comes_back_over_tcp():
    return comes_back()


@check("it connects again over TLS")
def it_comes_back_over_tls():
    return comes_back(Certificate("echo.test"))


@check("a connection that ends early counts as a failure")
def what_is_short_is_no_success():
    """A server that drops each connection at once is left alone for longer and longer."""
    with Listener() as listener, Board(listener.url, "large=0", "patience=3") as board:
        found = []
        for ceiling in (1000, 2000, 3000, 3000):
            Peer(listener).end()
            board.expect("^open")
            board.expect("^failed: ")
            found += waits(board, (ceiling,))
        return "waited %s ms" % found


@check("a server that does not answer the request")
def a_server_that_does_not_answer_the_request():
    with Listener() as listener, Board(listener.url) as board:
        with listener.accept() as s:
            board.expect(r"^failed: WebSocket\(Handshake\(Timeout\)\)$", never="open")
            assert s.recv(4) == b"GET "


@check("a server that does not answer TLS")
def a_server_that_does_not_answer_tls():
    certificate = Certificate("echo.test")
    with Listener() as listener:
        with Board(listener.url.replace("ws:", "wss:"), ca=certificate) as board:
            with listener.accept() as s:
                board.expect("^failed: Timeout$", never="open|TLS")
                assert s.recv(1) == b"\x16"


@check("a server that does not answer a ping")
def a_server_that_does_not_answer_a_ping():
    with Listener() as listener, Board(listener.url, "large=0", "every=0") as board:
        peer = Peer(listener)
        assert peer.frame()[0] == PING
        board.expect(r"reason: Timeout\(Pong\)")
        peer.ended()


@check("a server that does not answer a close")
def a_server_that_does_not_answer_a_close():
    with Listener() as listener, Board(listener.url, "large=0", "every=100", "messages=1") as board:
        peer = Peer(listener)
        opcode, _, payload = peer.frame()
        peer.send(opcode, payload)
        assert peer.frame()[::2] == (CLOSE, struct.pack(">H", 1000) + b"enough")
        board.expect(r"^ended: a deadline passed: a Close was not answered$")
        peer.ended()


def refused(certificate, ca):
    with Server(certificate=certificate) as server, Board(server.url, ca=ca) as board:
        failure = board.expect(r"^failed: (Tls\(.*\))$", never="open|TLS: ")[1]
        assert failure == "Tls(InvalidCertificate)", failure
        board.expect(r"^again in \d+ ms$")
        server.untouched()


@check("another authority's certificate is refused")
def another_authority_s_certificate_is_refused():
    refused(Certificate("echo.test"), Certificate("echo.test"))


@check("another host's certificate is refused")
def another_host_s_certificate_is_refused():
    certificate = Certificate("other.test")
    refused(certificate, certificate)


@check("an expired certificate is refused")
def a_certificate_out_of_date_is_refused():
    certificate = Certificate("echo.test", days=-1)
    refused(certificate, certificate)


@check("a certificate signed by a server is refused")
def a_certificate_signed_by_a_server_is_refused():
    certificate = Certificate("other.test").forge("echo.test")
    refused(certificate, certificate)


def unproved_is_refused(failure, **how):
    certificate = Certificate("echo.test")
    with Listener() as listener:
        with Board(listener.url.replace("10.0.2.2", "echo.test").replace("ws:", "wss:"), ca=certificate) as board:
            with listener.accept() as s:
                unproved.shake_hands(s, **how)
                board.expect("^failed: Tls\\(%s\\)$" % failure, never="panicked|open|TLS: ")
                board.expect(r"^again in \d+ ms$")


@check("a server without a certificate is refused")
def a_server_without_a_certificate_is_refused():
    unproved_is_refused("InvalidCertificate")


@check("an empty record causes no panic")
def an_empty_record_is_no_panic():
    unproved_is_refused("IoError", empty=True)


@check("an unencrypted record causes no panic")
def a_record_in_the_clear_is_no_panic():
    """Behind the handshake, from somebody on the way."""
    certificate = Certificate("echo.test")
    with Server(certificate=certificate) as server, Way(server.port) as way:
        with Board("wss://echo.test:%d/ws" % way.port, ca=certificate) as board:
            board.expect("^message 1$")
            finished = unproved.message(20, bytes(32))
            way.client.sendall(struct.pack(">BHH", 22, 0x0303, len(finished)) + finished)
            board.expect(r"^failed: WebSocket\(Transport\(Tls\(IoError\)\)\)$")
            board.expect(r"^again in \d+ ms$")


signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
run(at_once=AT_ONCE)
