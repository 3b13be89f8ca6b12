#!/usr/bin/env python3
"""The echo_client example against HTTP servers that refuse it.

  refusals.py ECHO_CLIENT GO_SERVER HYPER_SERVER FOLDER-TO-WORK-IN

The other servers are aiohttp, and nginx before aiohttp. All of them keep their connections open where HTTP lets them: a
client that does not find the end of a body waits for its deadline, and calls the body incomplete.
"""
import asyncio
import os
import re
import shutil
import subprocess
import sys
from contextlib import asynccontextmanager

from aiohttp import web

from check import check, equal, run

CLIENT, GO, HYPER, WORK = map(os.path.abspath, sys.argv[1:5])
NGINX = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") or sys.exit("nginx is not installed")
WHO, NOT_HERE = "who are you?\\n", "not here\\n"


async def client(port, path):
    """What the client says at its end, and its exit code."""
    process = await asyncio.create_subprocess_exec(
        CLIENT, "ws://127.0.0.1:%d%s" % (port, path), stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 20)
        return process.returncode, out.decode()
    finally:
        if process.returncode is None:
            process.kill()


async def refused(port, path, status, body):
    code, out = await client(port, path)
    assert code, "%s: %s" % (path, out)
    said = re.search(r"refused the connection with status (\d+): (.*)", out)
    assert said, "%s: %s" % (path, out)
    equal((path, int(said[1]), said[2]), (path, status, body))


async def refusals(port, expected):
    for path, (status, body) in expected.items():
        await refused(port, path, status, body)
    return "%d ways" % len(expected)


@asynccontextmanager
async def program(*command):
    """A server that prints its address; its port."""
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 10)
        yield int(line.rsplit(b":", 1)[1])
        assert process.returncode is None, "%s has ended" % command[0]
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def aiohttp():
    async def chunked(request):
        answer = web.StreamResponse(status=401)
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        for part in (b"who are ", b"you?\n"):
            await answer.write(part)
        await answer.write_eof()
        return answer

    async def close(request):
        # What aiohttp does not write itself: no length, no chunks.
        request.transport.write(b"HTTP/1.0 403 Forbidden\r\n\r\nwho are you?\n")
        request.transport.close()
        return web.Response()

    app = web.Application()
    app.router.add_get("/401/chunked", chunked)
    app.router.add_get("/403/close", close)
    app.router.add_get("/404/length", lambda _: web.Response(status=404, text="not here\n"))
    app.router.add_get("/204", lambda _: web.Response(status=204))
    app.router.add_get("/304", lambda _: web.Response(status=304))
    runner = web.AppRunner(app, keepalive_timeout=3600)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield site._server.sockets[0].getsockname()[1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def nginx(upstream):
    """nginx with answers of its own, and what it makes of those of `upstream`."""
    shutil.rmtree(WORK, ignore_errors=True)
    os.makedirs(WORK)
    with open(os.path.join(WORK, "passwords"), "w"):
        pass
    for _ in range(5):  # another process may take the port
        port = await free_port()
        config = """
            daemon off; master_process off; pid {work}/pid; error_log {work}/error.log;
            events {{}}
            http {{
              access_log off; keepalive_timeout 3600;
              client_body_temp_path {work}; proxy_temp_path {work}; fastcgi_temp_path {work};
              uwsgi_temp_path {work}; scgi_temp_path {work};
              server {{
                listen 127.0.0.1:{port};
                location /204 {{ return 204; }}
                location /304 {{ return 304; }}
                location /403 {{ return 403 "who are you?\\n"; }}
                location /401 {{ auth_basic "x"; auth_basic_user_file {work}/passwords; }}
                location /502 {{ proxy_pass http://127.0.0.1:1; }}
                location /up/ {{ proxy_pass http://127.0.0.1:{upstream}/; proxy_http_version 1.1; }}
              }}
            }}""".format(work=WORK, port=port, upstream=upstream)
        with open(os.path.join(WORK, "nginx.conf"), "w") as f:
            f.write(config)
        process = await asyncio.create_subprocess_exec(
            NGINX, "-p", WORK, "-c", os.path.join(WORK, "nginx.conf"), stderr=subprocess.DEVNULL)
        if await listens(port, process):
            break
    else:
        raise AssertionError(open(os.path.join(WORK, "error.log")).read())
    try:
        yield port
    finally:
        process.terminate()
        await process.wait()


async def free_port():
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def listens(port, process):
    while process.returncode is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return True
        except ConnectionRefusedError:
            await asyncio.sleep(0.05)
    return False


COMMON = {"/401/chunked": (401, WHO), "/404/length": (404, NOT_HERE), "/204": (204, ""), "/304": (304, ""),
          "/403/close": (403, WHO)}


@check("Go's net/http")
async def go():
    async with program(GO) as port:
        return await refusals(port, COMMON | {"/401/trailer": (401, WHO), "/103/403": (403, WHO)})


@check("Go's net/http: a 101 after a 103, with a folded field")
async def early():
    async with program(GO) as port:
        _, out = await client(port, "/103/101")
    assert "Hello" in out and "1000" in out, out


@check("hyper")
async def hyper():
    async with program(HYPER) as port:
        return await refusals(port, COMMON | {"/401/trailer": (401, WHO)})


@check("aiohttp")
async def python():
    async with aiohttp() as port:
        return await refusals(port, COMMON)


@check("nginx: its own pages, and those of aiohttp behind it")
async def proxy():
    async with aiohttp() as upstream, nginx(upstream) as port:
        for status, title in ((401, "401 Authorization Required"), (502, "502 Bad Gateway")):
            code, out = await client(port, "/%d" % status)
            assert code and "status %d: <html>" % status in out and "<h1>%s</h1>" % title in out, out
            assert out.rstrip().endswith("</html>\\r\\n") and "incomplete" not in out, out
        behind = {"/up" + path: answer for path, answer in COMMON.items()}
        return await refusals(port, behind | {"/204": (204, ""), "/304": (304, ""), "/403": (403, WHO)})


run()
