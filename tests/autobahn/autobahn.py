#!/usr/bin/env python3
"""Run the Autobahn WebSocket TestSuite and compare every case with the expected result.

  autobahn.py server --url ws://127.0.0.1:9001/ws           wstest drives the echo server at that URL
  autobahn.py client --cmd './autobahn_client {url} sansocket'   wstest serves, CMD runs all its cases

The file given with --expect names the cases to run and the verdict of each; --quick leaves out 9.*. With expected-deflate.json,
whose 216 cases take half an hour, --few takes those of 60 that are different in kind.
A case that is missing, added or judged otherwise (NON-STRICT included) is a difference.
Exit: 0 without a difference, 1 with one, 2 if the tools could not be run.
"""
import argparse
import base64
import collections
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))

# wstest's fuzzingserver listens on every interface whatever its "url" says: keep it on loopback
SERVE_LOCAL = """
import sys
sys.argv[0] = "wstest"
from autobahntestsuite import wstest
from twisted.internet import reactor
listen = reactor.listenTCP
reactor.listenTCP = lambda port, factory, backlog=50, interface="": listen(port, factory, backlog, "127.0.0.1")
wstest.run()
"""


# Of the 18 cases of each group of 12.* and 13.*: messages of 16 bytes, 1 and 8 KiB in one frame, and in frames of 256 bytes.
FEW = (1, 4, 6, 11, 14)


def die(message):
    print("autobahn: " + message, file=sys.stderr)
    sys.exit(2)


def key(case):
    return [int(n) for n in case.split(".")]


def expected(args):
    """{case: (behavior, behaviorClose)} from a file {verdict: {group: [last numbers]}}."""
    out = {}
    with open(args.expect) as f:
        for verdict, groups in json.load(f).items():
            for group, last in groups.items():
                out.update(("%s.%d" % (group, n), (verdict, verdict)) for n in last)
    left_out = (args.quick and (lambda c: c.startswith("9."))) or (args.few and (lambda c: key(c)[-1] not in FEW)) or (lambda c: False)
    return {c: v for c, v in out.items() if not left_out(c)}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_port(host, port, process=None):
    end = time.monotonic() + 20
    while time.monotonic() < end and (process is None or process.poll() is None):
        try:
            return socket.create_connection((host, port), 1).close()
        except OSError:
            time.sleep(0.05)
    die("nothing listens at %s:%d" % (host, port))


def start(command, log):
    with open(log, "wb") as f:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=f, stderr=f, cwd=os.path.dirname(log),
                                start_new_session=True)


def finish(process, seconds, what):
    try:
        process.wait(max(0.1, seconds))
    except subprocess.TimeoutExpired:
        print("autobahn: %s took too long: stopped" % what, file=sys.stderr)


def stop(process):
    """End a process started here, and its children: it leads its own group."""
    for sig in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, sig)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                pass


def update_reports(port, agent):
    """Ask the fuzzingserver to write its reports; it closes the connection when it has."""
    request = ("GET /updateReports?agent=%s&shutdownOnComplete=true HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
               "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n"
               % (agent, port, base64.b64encode(os.urandom(16)).decode()))
    try:
        with socket.create_connection(("127.0.0.1", port), 60) as s:
            s.sendall(request.encode())
            while s.recv(65536):
                pass
    except OSError:
        pass


def spec(args, cases, **more):
    path = os.path.join(args.out, "spec.json")
    with open(path, "w") as f:
        json.dump(dict(more, outdir=args.out, cases=cases, **{"exclude-cases": [], "exclude-agent-cases": {}}), f)
    return path


def run_server(args, cases):
    url = urllib.parse.urlsplit(args.url)
    wait_port(url.hostname, url.port)
    path = spec(args, cases, options={}, servers=[{"url": args.url, "agent": "sansocket"}])
    wstest = start([args.wstest, "-m", "fuzzingclient", "-s", path], os.path.join(args.out, "wstest.log"))
    try:
        finish(wstest, args.timeout, "wstest")
    finally:
        stop(wstest)


def run_client(args, cases):
    port, end = free_port(), time.monotonic() + args.timeout
    path = spec(args, cases, options={}, url="ws://127.0.0.1:%d" % port)
    python = os.path.join(os.path.dirname(args.wstest), "python")
    processes = [start([python, "-W", "ignore", "-c", SERVE_LOCAL, "-m", "fuzzingserver", "-u", "0", "-s", path],
                       os.path.join(args.out, "wstest.log"))]
    try:
        wait_port("127.0.0.1", port, processes[0])
        command = [os.path.abspath(w) if os.path.exists(w) else w
                   for w in shlex.split(args.cmd.format(url="ws://127.0.0.1:%d" % port))]
        processes.append(start(command, os.path.join(args.out, "client.log")))
        finish(processes[1], end - time.monotonic(), "the client")
        if processes[1].poll() != 0:
            print("autobahn: the client ended with %s: see client.log" % processes[1].poll())
        update_reports(port, "sansocket")
        finish(processes[0], 60, "wstest")
        return processes[1].poll() == 0
    finally:
        for p in processes:
            stop(p)


def judge(args, want):
    try:
        with open(os.path.join(args.out, "index.json")) as f:
            index = json.load(f)
    except OSError:
        index = {}
    if list(index) != ["sansocket"]:
        print("autobahn: reports of %s: the agent must call itself sansocket" % (list(index) or "nobody"))
    have = index.get("sansocket", {})
    got = {c: (e["behavior"], e["behaviorClose"]) for c, e in have.items()}
    differing = sorted((c for c in set(want) | set(got) if want.get(c) != got.get(c)), key=key)
    for case in differing if have else []:
        text = ""
        if case in have:
            with open(os.path.join(args.out, have[case]["reportfile"].replace(".html", ".json"))) as f:
                report = json.load(f)
            text = " (%s; %s)" % (report["result"], report["resultClose"])
        print("  %s: %s, expected %s%s" % (case, " / ".join(got.get(case, ["not run"])),
                                           " / ".join(want.get(case, ["not run"])), text))
    counts = collections.Counter("%s / %s" % v for v in got.values())
    print("%d of %d cases: %s; %d differ from what is expected" % (
        len(got), len(want), ", ".join("%s %d" % c for c in counts.most_common()) or "none was run", len(differing)))
    return not differing


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("mode", choices=["server", "client"])
    ap.add_argument("--url", help="server mode: the running echo server")
    ap.add_argument("--cmd", help="client mode: the client, with {url}")
    ap.add_argument("--quick", action="store_true", help="leave out 9.* (large messages)")
    ap.add_argument("--few", action="store_true", help="take 5 cases of each group")
    ap.add_argument("--expect", default=os.path.join(HERE, "expected-core.json"))
    ap.add_argument("--out", default="autobahn-reports", help="report folder (emptied first)")
    ap.add_argument("--timeout", type=float, default=600, help="seconds for the whole run")
    ap.add_argument("--wstest", default=os.environ.get("WSTEST") or shutil.which("wstest"))
    args = ap.parse_args()
    if not (args.url if args.mode == "server" else args.cmd):
        ap.error("server mode needs --url, client mode --cmd")
    if not (args.wstest and os.access(args.wstest, os.X_OK)):
        die("no wstest: see install_wstest.sh, then give --wstest or set WSTEST")
    args.wstest, args.out = os.path.abspath(args.wstest), os.path.abspath(args.out)
    shutil.rmtree(args.out, ignore_errors=True)
    os.makedirs(args.out)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that what was started is stopped
    want, began = expected(args), time.monotonic()
    ran = (run_server if args.mode == "server" else run_client)(args, sorted(want, key=key))
    same = judge(args, want)
    print("%s, %.0f s" % ("PASS" if same and ran is not False else "FAIL", time.monotonic() - began))
    sys.exit(0 if same and ran is not False else 1)


if __name__ == "__main__":
    main()
