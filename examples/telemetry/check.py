#!/usr/bin/env python3
"""The board sends telemetry to a server of websockets: check.py, with ELF=PATH of the image. Needs websockets."""
import asyncio
import base64
import json
import os
import re
import sys
from contextlib import asynccontextmanager
from http import HTTPStatus

from websockets.asyncio.server import basic_auth, serve
from websockets.exceptions import ConnectionClosed

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../../tests/peers"))
from check import check, equal, run  # noqa: E402

PATIENCE = 30  # seconds for anything that is waited for
USER, PASSWORD = "sensor", "a:secret"
CREDENTIALS = "Basic " + base64.b64encode(("%s:%s" % (USER, PASSWORD)).encode()).decode()


class Board:
    def __init__(self, process):
        self.process = process

    async def expect(self, pattern):
        """The match of the next line with this pattern."""
        async def find():
            async for line in self.process.stdout:
                line = line.decode(errors="replace").rstrip()
                assert "panicked" not in line, line
                match = re.search(pattern, line)
                if match:
                    return match
            raise AssertionError("the board has stopped before %r" % pattern)
        return await asyncio.wait_for(find(), PATIENCE)


@asynccontextmanager
async def board(port, password=PASSWORD):
    url = "url=ws://%s:%s@10.0.2.2:%d/v1" % (USER, password.replace(":", "%3A"), port)
    process = await asyncio.create_subprocess_exec(HERE + "/../qemu-client/run.sh", url, stdout=asyncio.subprocess.PIPE)
    try:
        yield Board(process)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def server(process_request=None):
    """Its port, and the queue of its connections."""
    opened = asyncio.Queue()

    async def handler(connection):
        await opened.put(connection)
        await connection.wait_closed()

    async with serve(handler, "127.0.0.1", 0, subprotocols=["telemetry.v1"], process_request=process_request, compression=None,
                     close_timeout=5) as listening:
        yield listening.sockets[0].getsockname()[1], lambda: asyncio.wait_for(opened.get(), PATIENCE)


async def measurement(connection):
    return json.loads(await asyncio.wait_for(connection.recv(), PATIENCE))


@check("it authorizes itself, sends measurements, and obeys the settings")
async def settings():
    async with server() as (port, opened), board(port) as device:
        connection = await opened()
        equal((connection.request.path, connection.request.headers["Authorization"], connection.subprotocol),
              ("/v1", CREDENTIALS, "telemetry.v1"))
        first = await measurement(connection)
        equal(sorted(first), ["celsius", "interval", "number"])
        equal((await measurement(connection))["number"], first["number"] + 1)
        await connection.send("{")
        await device.expect("^no settings: ")
        await connection.send('{"interval":5}')
        await device.expect("^an interval has 20 to 60000 ms$")
        await connection.send('{"interval":50}')
        while (await measurement(connection))["interval"] != 50:
            pass


@check("a connection that is lost: it connects again, with the measurements in order")
async def lost():
    async with server() as (port, opened), board(port) as device:
        connection = await opened()
        last = await measurement(connection)
        connection.transport.abort()
        await device.expect("^failed: ")
        delay = int((await device.expect(r"^again in (\d+) ms$"))[1])
        assert delay <= 500, delay
        connection = await opened()
        following = await measurement(connection)
        # One was perhaps in the network when that failed.
        assert following["number"] - last["number"] in (1, 2), (last, following)
        equal((await measurement(connection))["number"], following["number"] + 1)
        await connection.close(1001, "restart")
        equal(connection.close_code, 1001)
        await device.expect("^closed by the server$")
        await opened()


@check("a message that is too big ends the connection with 1009, and it connects again")
async def too_big():
    async with server() as (port, opened), board(port) as device:
        connection = await opened()
        await connection.send("x" * 65)
        try:
            while True:
                await measurement(connection)
        except ConnectionClosed as closed:
            equal(closed.rcvd and closed.rcvd.code, 1009)
        await device.expect("^failed: .*beyond the limit")
        await opened()


@check("a server that refuses: the delay is longer after 401")
async def refused():
    statuses = []

    async def refuse(connection, request):
        statuses.append(1)
        if len(statuses) == 1:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not yet\n")
        return await basic_auth(credentials=(USER, PASSWORD))(connection, request)

    async with server(refuse) as (port, _), board(port, "wrong") as device:
        for status, least, most in ((503, 0, 500), (401, 2000, 3000)):
            equal(int((await device.expect(r"^refused with status (\d+)$"))[1]), status)
            delay = int((await device.expect(r"^again in (\d+) ms$"))[1])
            assert least <= delay <= most, (status, delay)


run()
