"""The echo server of websockets, with compression on as by default, but for the client's window, which stays at 15 bits."""
import asyncio

import websockets
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory


async def echo(ws):
    async for message in ws:
        await ws.send(message)


async def main():
    deflate = ServerPerMessageDeflateFactory(server_max_window_bits=12, compress_settings={"memLevel": 5})
    serve = websockets.serve(echo, "127.0.0.1", 0, max_size=None, compression=None, extensions=[deflate])
    async with serve as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
