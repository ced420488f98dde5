"""Null shards: they answer ten hits to any query, over frames and over aiohttp, all in one process of their own."""

import asyncio
import os
import signal
import sys

import numpy as np
import orjson
import uvloop
from aiohttp import web

from embedding_serving.wire.calls import Call, Reply
from embedding_serving.wire.server import FrameServer

HITS = 10
ROWS = np.arange(HITS, dtype=np.int64).data.cast("B")
SCORES = np.linspace(1, 0, HITS, dtype=np.float32).data.cast("B")
HEAD = orjson.dumps({"g": 1, "f": "client-384-cosine", "e": 1, "p": 100_000, "n": HITS})


def _hello(call: Call) -> Reply:
    return Reply({"pod": "null"})


def _search(call: Call) -> Reply:
    np.frombuffer(call.tail, np.float32)
    return Reply(HEAD, (ROWS, SCORES))


async def _search_http(request: web.Request) -> web.Response:
    body = await request.read()
    head_bytes = int.from_bytes(body[:4], "little")
    orjson.loads(body[4 : 4 + head_bytes])
    np.frombuffer(body, np.float32, offset=4 + head_bytes)
    return web.Response(body=len(HEAD).to_bytes(4, "little") + HEAD + bytes(ROWS) + bytes(SCORES))


async def serve(shards: int) -> None:
    """Prints the ports, one line: those of the frames, then those of HTTP."""
    frame_ports, http_ports = [], []
    for _ in range(shards):
        server = FrameServer({"hello": _hello, "search": _search}, 0)
        await server.start()
        frame_ports.append(server.port)
        app = web.Application()
        app.router.add_post("/search", _search_http)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        http_ports.append(runner.addresses[0][1])
    print(*frame_ports, *http_ports, flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()


if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    uvloop.run(serve(int(sys.argv[1])))
