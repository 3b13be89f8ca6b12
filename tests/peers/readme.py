#!/usr/bin/env python3
"""Copies README's server into a program of its own, takes its descriptors, and stops it by signals.

  readme.py FOLDER-TO-WORK-IN
"""
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time

import wire
from check import check, equal, run
from wire import CLOSE, TEXT, Client, frame

WORK = os.path.abspath(sys.argv[1])
ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
DESCRIPTORS = 20


def build():
    section = open(os.path.join(ROOT, "README.md")).read().split("\n## A server\n")[1].split("\n## ")[0]
    dependencies, program = (re.search(r"```%s.*?\n(.*?)```" % kind, section, re.S)[1] for kind in ("toml", "rust"))
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    os.makedirs(os.path.join(WORK, "src"), exist_ok=True)
    for name, text in (("Cargo.toml", "[package]\nname = \"readme\"\nedition = \"2024\"\n\n" + dependencies +
                        "\n[patch.crates-io]\nsansocket = { path = \"%s\" }\n\n[workspace]\n" % ROOT),
                       ("Cargo.lock", open(os.path.join(ROOT, "Cargo.lock")).read()),
                       ("src/main.rs", program.replace("127.0.0.1:8080", "127.0.0.1:%d" % port))):
        with open(os.path.join(WORK, name), "w") as file:
            file.write(text)
    subprocess.run(["cargo", "build", "--quiet"], cwd=WORK, check=True)
    return os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(WORK, "target")), "debug", "readme"), port


PROGRAM, PORT = build()


class Running:
    def __enter__(self):
        few = (DESCRIPTORS, DESCRIPTORS)
        self.process = subprocess.Popen([PROGRAM], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, few))
        end = time.monotonic() + 10
        while socket.socket().connect_ex(("127.0.0.1", PORT)):
            assert time.monotonic() < end, "it does not listen"
            time.sleep(0.02)
        return self.process

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def connect():
    return Client(wire.dial("127.0.0.1", PORT, 10))


def echoes(client):
    client.socket.sendall(frame(TEXT, b"hello"))
    equal(client.message(), (TEXT, b"hello"))


@check("it echoes")
def echo():
    with Running():
        echoes(connect())


@check("it survives a failed accept")
def descriptors():
    with Running() as process:
        first = connect()
        waiting = [wire.dial("127.0.0.1", PORT, 10) for _ in range(30)]
        for s in waiting:
            s.sendall(wire.request())
        end = time.monotonic() + 10
        while not all(os.path.lexists("/proc/%d/fd/%d" % (process.pid, n)) for n in range(DESCRIPTORS)):
            assert time.monotonic() < end, "it has descriptors left"
            time.sleep(0.02)
        echoes(first)
        for s in waiting:
            s.close()
        echoes(connect())
        equal(process.poll(), None)


@check("a signal closes each connection with 1001, and the program ends with status 0")
def stops():
    for number in (signal.SIGINT, signal.SIGTERM):
        with Running() as process:
            clients = [connect() for _ in range(3)]
            process.send_signal(number)
            for client in clients:
                equal(client.frame(), (1, CLOSE, b"\x03\xe9"))
                client.socket.sendall(frame(CLOSE, b"\x03\xe9"))
                equal(client.rest(), b"")
                client.drop()
            equal(process.wait(10), 0)


@check("a second signal ends the program at once")
def twice():
    with Running() as process:
        client = connect()
        process.send_signal(signal.SIGTERM)
        equal(client.frame(), (1, CLOSE, b"\x03\xe9"))
        process.send_signal(signal.SIGTERM)
        equal(process.wait(10), 1)


run()
