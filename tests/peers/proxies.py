#!/usr/bin/env python3
"""Runs each configuration of docs/proxies.md in its proxy before the echo server, with clients of three kinds.

  proxies.py FOLDER-OF-THE-EXAMPLES FOLDER-TO-WORK-IN

Needs nginx, haproxy, openssl and node. Everything listens on 127.0.0.1 alone.
"""
import asyncio
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from functools import partial

import websocket
from websockets.asyncio.client import connect as dial
from websockets.exceptions import InvalidStatus

from check import check, equal, run, together
from wire import CLOSE, TEXT, frame, read_exactly, read_head, request

BIN, WORK = map(os.path.abspath, sys.argv[1:3])
ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
HOST = "app.example"
SAME, OTHER = "https://" + HOST, "https://other.example"
PKI = os.path.join(WORK, "pki")

for tool in ("nginx", "haproxy", "openssl", "node"):
    if not shutil.which(tool, path=os.environ["PATH"] + ":/usr/sbin"):
        sys.exit("%s is not installed" % tool)
shutil.rmtree(WORK, ignore_errors=True)
subprocess.run([os.path.join(ROOT, "examples/tls/certificates.sh"), PKI, HOST, "127.0.0.1"], check=True)
with open(os.path.join(PKI, "both.pem"), "w") as both:
    for name in ("cert.pem", "key.pem"):
        both.write(open(os.path.join(PKI, name)).read())


def documented(heading, language):
    """The block of this language below this heading of the documentation."""
    text = open(os.path.join(ROOT, "docs/proxies.md")).read()
    section = text.split("\n## %s\n" % heading)[1].split("\n## ")[0]
    return re.search(r"```%s\n(.*?)```" % language, section, re.S)[1]


def change(config, old, new):
    assert old in config, "the configuration has no %r" % old
    return config.replace(old, new)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Process:
    """A process with its log, ended with the block."""

    def __init__(self, name, *command):
        self.log = os.path.join(WORK, "%s-%d.log" % (name, time.monotonic_ns()))
        self.process = subprocess.Popen(command, stdout=open(self.log, "wb"), stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def lines(self):
        return open(self.log, errors="replace").read().splitlines()

    def wait_for(self, what, there):
        end = time.monotonic() + 10
        while not there():
            assert self.process.poll() is None and time.monotonic() < end, "%s: %r" % (what, self.lines()[-5:])
            time.sleep(0.02)

    def said(self, pattern):
        self.wait_for("no line " + pattern, lambda: any(re.search(pattern, line) for line in self.lines()))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        self.status = self.process.wait(10)


class Server(Process):
    """An example that listens."""

    def __init__(self, *options, program="echo_server"):
        super().__init__(program, os.path.join(BIN, program), "--listen", "127.0.0.1:0", *options)
        self.said("^listening")
        self.port = int(re.search(r"^listening.*:(\d+)", "\n".join(self.lines()), re.M)[1])


class Proxy(Process):
    """A proxy before a server."""

    def __init__(self, language, config, server):
        self.port = free_port()
        config = change(config, "127.0.0.1:8080", "127.0.0.1:%d" % server.port)
        config = change(config, "/etc/ssl/app.example/", PKI + "/")
        path = os.path.join(WORK, "%s-%d.conf" % (language, self.port))
        if language == "nginx":
            config = change(config, "listen 443 ssl", "listen 127.0.0.1:%d ssl" % self.port)
            places = "".join("%s_temp_path %s/%s; " % (kind, WORK, kind) for kind in
                             ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
            config = ("daemon off; master_process off; pid %s.pid; error_log stderr; events {}\n"
                      "http { access_log off; %s\n%s}\n" % (path, places, config))
            command = ["/usr/sbin/nginx", "-e", "stderr", "-p", WORK, "-c", path]
        else:
            config = change(config, "bind :443", "bind 127.0.0.1:%d" % self.port)
            command = ["/usr/sbin/haproxy", "-db", "-f", path]
        with open(path, "w") as file:
            file.write(config)
        super().__init__(language, *command)
        self.wait_for("it does not listen", self.listens)

    def listens(self):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0


def tls():
    return ssl.create_default_context(cafile=os.path.join(PKI, "ca.pem"))


def wire(proxy, **fields):
    """A socket through the proxy, and the status of the answer to an upgrade with these fields."""
    raw = socket.create_connection(("127.0.0.1", proxy.port), 10)
    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s = tls().wrap_socket(raw, server_hostname=HOST)
    s.sendall(request(**{"Host": HOST, **fields}))
    return s, read_head(s)[0]


def status(proxy, **fields):
    s, got = wire(proxy, **fields)
    s.close()
    return got


def websocket_client(proxy, origin):
    """PyPI websocket-client, as a browser at https://app.example."""
    options = {"timeout": 10, "sslopt": {"ca_certs": os.path.join(PKI, "ca.pem")}}
    raw = socket.create_connection(("127.0.0.1", proxy.port), 10)
    s = tls().wrap_socket(raw, server_hostname=HOST)
    try:
        ws = websocket.create_connection("wss://%s/ws" % HOST, socket=s, origin=origin, **options)
    except websocket.WebSocketBadStatusException as e:
        return e.status_code
    for data in ("Hello", "grüße, 世界", "x" * 70000):
        ws.send(data)
        equal(ws.recv(), data)
    ws.send_binary(bytes(range(256)) * 256)
    equal(ws.recv(), bytes(range(256)) * 256)
    ws.close(4000)
    return 101


def websockets_peer(proxy, origin):
    """PyPI websockets. Its blocking client reads in a thread of its own, which Python's TLS streams do not survive: before
    3.13 they have no lock, and a ticket that arrives while the request is written can lose it.
    """
    async def echo(raw):
        async with dial("wss://%s/ws" % HOST, sock=raw, ssl=tls(), origin=origin, compression=None, max_size=None) as ws:
            for data in ("Hello", b"", os.urandom(1 << 20)):
                await ws.send(data)
                equal(await asyncio.wait_for(ws.recv(), 10) == data, True)
            await ws.close(4001, "bye")
            equal((ws.close_code, ws.protocol.close_rcvd.code), (4001, 4001))
    try:
        asyncio.run(echo(socket.create_connection(("127.0.0.1", proxy.port), 10)))
        return 101
    except InvalidStatus as e:
        return e.response.status_code


NODE = """
import WebSocket from 'ws';
import { readFileSync } from 'node:fs';
const [port, origin, ca] = process.argv.slice(1);
const lookup = (name, options, done) => options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4);
const ws = new WebSocket(`wss://app.example:${port}/ws`, {
  origin, ca: readFileSync(ca), lookup, headers: { Host: 'app.example' }, perMessageDeflate: false, handshakeTimeout: 10000,
});
const end = status => { console.log(JSON.stringify(status)); process.exit(0); };
ws.on('unexpected-response', (_, response) => end(response.statusCode));
ws.on('open', () => ws.send('Hello'));
ws.on('message', data => data.toString() === 'Hello' ? ws.close(4002) : end('no echo'));
ws.on('close', code => end(code === 4002 ? 101 : code));
ws.on('error', e => end(String(e)));
"""


def node_ws(proxy, origin):
    """npm ws."""
    command = ["node", "--input-type=module", "-e", NODE, str(proxy.port), origin, os.path.join(PKI, "ca.pem")]
    done = subprocess.run(command, cwd=os.path.dirname(os.path.abspath(__file__)), stdout=subprocess.PIPE, text=True, timeout=20)
    return json.loads(done.stdout)


def serves(proxy):
    """Pages of the proxy's host are served, others are refused; a page that is no WebSocket comes through too."""
    for client in (websocket_client, websockets_peer, node_ws):
        equal((client.__name__, client(proxy, SAME)), (client.__name__, 101))
        equal((client.__name__, client(proxy, OTHER)), (client.__name__, 403))
    equal(status(proxy), 101)
    with tls().wrap_socket(socket.create_connection(("127.0.0.1", proxy.port), 10), server_hostname=HOST) as s:
        s.sendall(("GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % HOST).encode())
        equal(read_head(s)[0], 200)


def ends_with_its_server(proxy, server):
    """The server's last word reaches the client: 1001."""
    s, got = wire(proxy)
    equal(got, 101)
    server.process.terminate()
    equal(read_exactly(s, 4), b"\x88\x02\x03\xe9")
    s.sendall(frame(CLOSE, b"\x03\xe9"))
    s.close()
    equal(server.process.wait(10), 0)


def silent(proxy, seconds):
    """Whether a connection outlives this silence of the client, who answers Pings."""
    ws = websocket.create_connection(
        "wss://%s/ws" % HOST, timeout=seconds, origin=SAME,
        socket=tls().wrap_socket(socket.create_connection(("127.0.0.1", proxy.port), 10), server_hostname=HOST))
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            ws.settimeout(max(0.01, end - time.monotonic()))
            try:
                ws.recv_data_frame(control_frame=True)  # answers a Ping
            except websocket.WebSocketTimeoutException:
                pass
        ws.settimeout(10)
        ws.send("still here")
        while True:
            opcode, answer = ws.recv_data_frame(control_frame=True)
            if opcode == TEXT:
                return answer.data == b"still here"
    except (websocket.WebSocketConnectionClosedException, ConnectionError, ssl.SSLError):
        return False


NGINX = documented("nginx", "nginx")
HTTP = documented("HAProxy", "haproxy")
TCP = documented("HAProxy that forwards TCP, with the PROXY protocol", "haproxy")


@check("nginx as documented")
def nginx():
    with Server() as server, Proxy("nginx", NGINX, server) as proxy:
        serves(proxy)
        server.said(r"Refused 127\.0\.0\.1:\d+ with 403: the origin is not allowed .*; Origin https://other\.example$")
        ends_with_its_server(proxy, server)


@check("HAProxy as documented")
def haproxy():
    with Server() as server, Proxy("haproxy", HTTP, server) as proxy:
        serves(proxy)
        ends_with_its_server(proxy, server)


@check("an axum server behind nginx and HAProxy, over HTTP/1 and HTTP/2")
def axum():
    http2 = documented("HTTP/2", "haproxy")
    for language, config, options in (("nginx", NGINX, []), ("haproxy", HTTP, []), ("haproxy", http2, ["--http2-only"])):
        with Server(*options, program="axum_echo") as server, Proxy(language, config, server) as proxy:
            serves(proxy)
            if config is http2:
                command = ["node", os.path.join(ROOT, "tests/peers/http2.mjs"), "https://127.0.0.1:%d" % proxy.port,
                           os.path.join(PKI, "ca.pem")]
                subprocess.run(command, check=True, timeout=60)
            ends_with_its_server(proxy, server)


@check("HAProxy forwards TCP as documented, with version 1 of the PROXY protocol, and without the protocol")
def haproxy_tcp():
    for config, options in ((TCP, ["--proxy-from", "127.0.0.1"]),
                            (change(TCP, "send-proxy-v2", "send-proxy"), ["--proxy-from", "127.0.0.1"]),
                            (change(TCP, "send-proxy-v2", ""), [])):
        with Server(*options, program="echo_threads") as server, Proxy("haproxy", config, server) as proxy:
            serves(proxy)
            s, got = wire(proxy)
            equal(got, 101)
            client = "%s:%d" % s.getsockname()
            s.sendall(frame(CLOSE, b"\x03\xe8"))
            equal(read_exactly(s, 4), b"\x88\x02\x03\xe8")
            s.close()
            if options:
                server.said("^%s: closed: closed cleanly, code 1000$" % re.escape(client))
            ends_with_its_server(proxy, server)


@check("a server refuses an unexpected PROXY header, and a connection without an expected one")
def mistaken():
    with Server() as server, Proxy("haproxy", TCP, server) as proxy:
        equal(status(proxy), 400)
        server.said("with 400: not an HTTP/1.1 request$")
    with Server("--proxy-from", "127.0.0.1", program="echo_threads") as server, \
            Proxy("haproxy", change(TCP, "send-proxy-v2", ""), server) as proxy:
        try:
            equal(status(proxy), None)
        except (AssertionError, ConnectionError, ssl.SSLError):
            pass
        server.said("there is no PROXY header$")


@check("HAProxy's health checks work")
def health():
    config = change(TCP, "send-proxy-v2", "send-proxy-v2 check inter 100")
    with Server("--proxy-from", "127.0.0.1", program="echo_threads") as server, Proxy("haproxy", config, server) as proxy:
        # HAProxy resets what it has opened.
        server.wait_for("no check", lambda: sum(bool(re.search("no request|reset", line)) for line in server.lines()) >= 3)
        equal(status(proxy), 101)
        equal([line for line in server.lines() if "PROXY" in line], [])


@check("nginx's Host decides which pages may connect")
def host():
    lost = change(NGINX, "        proxy_set_header Host $http_host;\n", "")
    with_port = change(NGINX, "$http_host", "$host:80")
    for config, options, expected in (
            (lost, [], (403, 403, 403)), (lost, ["--origin", SAME], (101, 403, 403)), (lost, ["--origin", "any"], (101, 101, 101)),
            (with_port, [], (101, 403, 403)), (NGINX, ["--origin", "same", "--origin", "file://"], (101, 403, 101))):
        with Server(*options) as server, Proxy("nginx", config, server) as proxy:
            equal((options, tuple(status(proxy, Origin=origin) for origin in (SAME, OTHER, "file://"))), (options, expected))


@check("HAProxy's Host decides which pages may connect")
def haproxy_host():
    for port, expected in ((":80", 101), (":443", 101), (":8080", 403)):
        config = change(HTTP, "    http-request set-header X-Forwarded-For %[src]\n", "    http-request set-header Host %s%s\n" % (HOST, port))
        with Server() as server, Proxy("haproxy", config, server) as proxy:
            equal((port, status(proxy, Origin=SAME)), (port, expected))


@check("the 503 of a full server is forwarded")
def full():
    for language, config in (("nginx", NGINX), ("haproxy", HTTP)):
        with Server("--max-connections", "1") as server, Proxy(language, config, server) as proxy:
            s, got = wire(proxy)
            equal(got, 101)
            equal(status(proxy), 503)
            s.close()


class Backend:
    """A server that remembers the request."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:  # HAProxy looks first whether there is a server
            s, _ = self.listener.accept()
            with s:
                s.settimeout(10)
                try:
                    self.head = s.recv(65536).decode()
                except ConnectionResetError:
                    continue
                if self.head:
                    s.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    return


@check("the client's address is the one that the proxy saw, not the one in the client's field")
def forwarded():
    for language, config in (("nginx", NGINX), ("haproxy", HTTP)):
        backend = Backend()
        with Proxy(language, config, backend) as proxy:
            equal(status(proxy, X_Forwarded_For="192.0.2.1", Origin=SAME), 404)
            backend.thread.join(10)
            fields = [tuple(line.split(": ", 1)) for line in backend.head.strip().split("\r\n")[1:]]
            names = {name.lower(): value for name, value in fields}
            equal([value for name, value in fields if name.lower() == "x-forwarded-for"], ["127.0.0.1"])
            equal([names.get(name, "").lower() for name in ("host", "origin", "upgrade", "connection")],
                  [HOST, SAME, "websocket", "upgrade"])


@check("a page on another port may connect if Host has it")
def other_port():
    with Server() as server, Proxy("nginx", NGINX, server) as proxy:
        name = "%s:%d" % (HOST, proxy.port)
        equal(status(proxy, Host=name, Origin="https://" + name), 101)
        equal(status(proxy, Host=name, Origin=SAME), 403)
    with Server() as server, Proxy("nginx", change(NGINX, "$http_host", "$host"), server) as proxy:
        equal(status(proxy, Host=name, Origin="https://" + name), 403)


@check("nginx without the settings for upgrades is refused")
def upgrade():
    for line, expected in (("        proxy_set_header Upgrade $http_upgrade;\n", 426),
                           ("        proxy_http_version 1.1;\n", 400)):
        with Server() as server, Proxy("nginx", change(NGINX, line, ""), server) as proxy:
            equal((line, status(proxy)), (line, expected))


@check("the server's Pings keep a silent connection, and without them the proxy's time-out ends it")
def times():
    nginx_2s = change(change(NGINX, "proxy_read_timeout 75s", "proxy_read_timeout 2s"), "proxy_send_timeout 75s", "proxy_send_timeout 2s")
    proxies = (("nginx", nginx_2s), ("haproxy", change(HTTP, "tunnel 75s", "tunnel 2s")),
               ("haproxy", change(change(HTTP, "    timeout tunnel 75s\n", ""), "client 30s", "client 2s")))

    def one(language, config, interval, expected):
        with Server("--ping-interval", interval) as server, Proxy(language, config, server) as proxy:
            equal((language, interval, silent(proxy, 4)), (language, interval, expected))

    def uplink(language, config):
        """Frames of the client alone, in one message that the server swallows, are as good as Pings."""
        with Server("--ping-interval", "0") as server, Proxy(language, config, server) as proxy:
            s, got = wire(proxy)
            equal(got, 101)
            s.sendall(frame(TEXT, b"Trigger async", fin=False))
            for _ in range(8):
                time.sleep(0.5)
                s.sendall(frame(0, b".", fin=False))
            s.sendall(frame(0, b""))
            equal((language, read_exactly(s, 12)), (language, b"\x81\x0aAsync data"))
            s.close()

    together(*(partial(uplink, *proxy) for proxy in proxies[:2]), *(partial(one, *proxy, *ping) for proxy in proxies for ping in (("0.5", True), ("0", False))))


run()
