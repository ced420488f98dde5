"""`python -m benchmarks.wire`: searches of 4 null shards at 8 concurrent, frames and aiohttp by turns in one run."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from statistics import median

import aiohttp
import numpy as np
import orjson
import uvloop

from embedding_serving.wire.client import Connection

SHARDS = 4
CONCURRENT = 8
ROUNDS = 5
SECONDS_A_ROUND = 1.5
DIMENSIONS = 384

Query = Callable[[], Awaitable[None]]


def main() -> int:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    command = [sys.executable, "-m", "benchmarks.wire.shards", str(SHARDS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shards:
        try:
            assert shards.stdout is not None
            ports = [int(port) for port in shards.stdout.readline().split()]
            uvloop.run(_compare(ports[:SHARDS], ports[SHARDS:]))
        finally:
            shards.terminate()
    return 0


async def _compare(frame_ports: list[int], http_ports: list[int]) -> None:
    vector = np.random.default_rng(1).random(DIMENSIONS, dtype=np.float32)
    tail = vector.data.cast("B")
    head = orjson.dumps(
        {"op": "search", "g": 1, "f": "client-384-cosine", "e": 1, "k": 10, "queries": 1, "consistency": "eventual"}
    )
    connections = [await Connection.connect("127.0.0.1", port, peer="benchmark", timeout=5) for port in frame_ports]
    body = len(head).to_bytes(4, "little") + head + bytes(tail)
    async with aiohttp.ClientSession() as session:

        async def framed() -> None:
            answers = [connection.send(head, tail, timeout=1.0) for connection in connections]
            for answer in answers:
                np.frombuffer((await answer).tail, np.float32, offset=80)

        async def one_http(port: int) -> None:
            async with session.post(f"http://127.0.0.1:{port}/search", data=body) as response:
                answer = await response.read()
            split = 4 + int.from_bytes(answer[:4], "little")
            orjson.loads(answer[4:split])
            np.frombuffer(answer, np.float32, offset=split + 80)

        async def http() -> None:
            await asyncio.gather(*(one_http(port) for port in http_ports))

        await _report({"frames": framed, "aiohttp": http})
    for connection in connections:
        connection.close()


async def _report(queries: dict[str, Query]) -> None:
    rates: dict[str, list[float]] = {name: [] for name in queries}
    waits: dict[str, list[float]] = {name: [] for name in queries}
    for _ in range(ROUNDS):
        for name, query in queries.items():
            rates[name].append(await _round(query, waits[name]))
    for name in queries:
        p50, p99 = np.percentile(waits[name], [50, 99]) * 1000
        print(f"{name:8} {median(rates[name]):8.0f} queries/s of {SHARDS} shards   p50 {p50:.2f} ms   p99 {p99:.2f} ms")
    ratios = [ours / theirs for ours, theirs in zip(rates["frames"], rates["aiohttp"], strict=True)]
    print(f"frames / aiohttp: {median(ratios):.1f} (of rounds: {', '.join(f'{ratio:.1f}' for ratio in ratios)})")


async def _round(query: Query, waits: list[float]) -> float:
    end = time.perf_counter() + SECONDS_A_ROUND
    done = 0

    async def client() -> None:
        nonlocal done
        while (begin := time.perf_counter()) < end:
            await query()
            waits.append(time.perf_counter() - begin)
            done += 1

    begin = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CONCURRENT)))
    return done / (time.perf_counter() - begin)


if __name__ == "__main__":
    sys.exit(main())
