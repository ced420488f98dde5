"""`python -m benchmarks.shard`: a shard's searches over frames against its index called in process, by turns in one run.

100k vectors of 384 dimensions go in over frames, acknowledged durable; then both answer the same queries, one caller at a
time and eight.
"""

import asyncio
import base64
import os
import sys
import tempfile
import time
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Any

import jwt
import numpy as np
import numpy.typing as npt
import orjson
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from embedding_serving.contract.admin import (
    ADMIN_PATH,
    SHARD_INFO_PATH,
    TOKEN_ALGORITHM,
    TOKEN_ISSUER,
    TOKEN_SECONDS,
    ShardInfo,
    audience,
)
from embedding_serving.contract.index import Distance, IndexOptions
from embedding_serving.contract.settings import ShardSettings, to_env
from embedding_serving.shard.ann.index import VectorIndex
from embedding_serving.wire.client import Connection

from ..embed.server import RunningServer, free_port, running

DOCUMENTS, QUERIES, DIMENSIONS, K = 100_000, 1_000, 384, 10
BATCH, BATCHES_AT_ONCE = 250, 8
ROUNDS, SECONDS_A_ROUND = 5, 2.0
FINGERPRINT = "client-384-cosine"
POD, NAMESPACE = "bench-g1-s0-0", "bench"

Search = Callable[[int], Awaitable[npt.NDArray[np.int64]]]


class NoVectors:
    """A source without a past: the index is fed by `apply`."""

    def live_rows(self, above: int) -> npt.NDArray[np.int64]:
        return np.empty(0, np.int64)

    def vectors(self, above: int, limit: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        return self.live_rows(above), np.empty((0, DIMENSIONS), np.float32)


def main() -> int:
    os.environ["OMP_NUM_THREADS"] = "1"
    vectors = _clustered(DOCUMENTS + QUERIES)
    key = Ed25519PrivateKey.generate()
    frame_port, admin_port = free_port(), free_port()
    with tempfile.TemporaryDirectory() as work:
        settings = ShardSettings(
            pod=POD, namespace=NAMESPACE, index="bench", generation=1, shard=0, shards=1, writer=POD,
            admin_public_keys=(base64.b64encode(key.public_key().public_bytes_raw()).decode(),),
            fingerprint=FINGERPRINT, dimensions=DIMENSIONS, text_required=False, data_dir=work,
            frame_port=frame_port, admin_port=admin_port, drain_seconds=0.0, recall_sample_seconds=0.0,
            termination_path=f"{work}/report",
        )  # fmt: skip
        command = ["-m", "embedding_serving", "shard"]
        with running("shard", command, admin_port, to_env(settings), Path(work) / "log") as server:
            _open(admin_port, key)
            uvloop.run(_measure(server, frame_port, vectors[:DOCUMENTS], vectors[DOCUMENTS:], Path(work) / "here"))
    return 0


def _clustered(count: int) -> npt.NDArray[np.float32]:
    """float32 [count, DIMENSIONS], normalised: 1,000 clusters that spread in 48 directions and a little in all."""
    random = np.random.default_rng(1)
    centres = random.standard_normal((1_000, DIMENSIONS), np.float32)
    directions = random.standard_normal((48, DIMENSIONS), np.float32) * np.float32(0.15)
    made = centres[random.integers(0, 1_000, count)] + random.standard_normal((count, 48), np.float32) @ directions
    made += random.standard_normal((count, DIMENSIONS), np.float32) * np.float32(0.2)
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), np.float32)


def _info(admin_port: int) -> ShardInfo:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin_port}{SHARD_INFO_PATH}") as answer:
        return ShardInfo.model_validate_json(answer.read())


def _open(admin_port: int, key: Ed25519PrivateKey) -> None:
    now = time.time()
    claims = {"iss": TOKEN_ISSUER, "aud": audience(NAMESPACE, POD), "iat": now, "exp": now + TOKEN_SECONDS}
    token = jwt.encode(claims, key, algorithm=TOKEN_ALGORITHM)
    request = urllib.request.Request(
        f"http://127.0.0.1:{admin_port}{ADMIN_PATH}/unfence",
        orjson.dumps({"epoch": 1, "history": _info(admin_port).history}),
        {"authorization": f"Bearer {token}", "content-type": "application/json"},
    )
    urllib.request.urlopen(request).close()


async def _measure(
    server: RunningServer,
    frame_port: int,
    documents: npt.NDArray[np.float32],
    queries: npt.NDArray[np.float32],
    directory: Path,
) -> None:
    connection = await Connection.connect("127.0.0.1", frame_port, peer="benchmark", timeout=5)
    await _load(connection, documents)
    index = await asyncio.to_thread(_built, directory, documents)
    await asyncio.to_thread(_await_built, lambda: _info(server.port).index)
    tails = [query.data.cast("B") for query in queries]
    head = orjson.dumps({"op": "search", "g": 1, "f": FINGERPRINT, "k": K})

    async def framed(number: int) -> npt.NDArray[np.int64]:
        answer = await connection.send(head, tails[number], timeout=10)
        return np.frombuffer(answer.tail, "<i8", count=K)

    async def called(number: int) -> npt.NDArray[np.int64]:
        rows, _ = index.search(queries[number : number + 1], K)
        return np.asarray(rows[0], np.int64)

    await _report({"frames": framed, "in process": called}, {"frames": server.cpu_seconds, "in process": time.process_time})
    connection.close()
    index.close()


async def _load(connection: Connection, documents: npt.NDArray[np.float32]) -> None:
    begin = time.perf_counter()
    room = asyncio.Semaphore(BATCHES_AT_ONCE)

    async def put(start: int) -> None:
        part = documents[start : start + BATCH]
        changes = [{"op": "put", "id": f"d{start + n}", "vector": True} for n in range(len(part))]
        head: dict[str, Any] = {
            "op": "write", "g": 1, "f": FINGERPRINT, "request_id": f"r{start}",
            "issued_at": time.time_ns() // 1_000_000, "changes": changes,
        }  # fmt: skip
        async with room:
            await connection.call(head, part.data.cast("B"), timeout=60)

    await asyncio.gather(*(put(start) for start in range(0, len(documents), BATCH)))
    seconds = time.perf_counter() - begin
    rate = len(documents) / seconds
    print(f"{len(documents):,} vectors written, acknowledged durable, in {seconds:.1f} s: {rate:,.0f} a second", flush=True)


def _built(directory: Path, documents: npt.NDArray[np.float32]) -> VectorIndex:
    index = VectorIndex(directory, DIMENSIONS, Distance.COSINE, IndexOptions(), NoVectors())
    index.load()
    for start in range(0, len(documents), 10_000):
        part = documents[start : start + 10_000]
        index.apply(np.arange(start, start + len(part), dtype=np.int64), part, np.empty(0, np.int64))
    _await_built(index.state)
    return index


def _await_built(state: Callable[[], Any]) -> None:
    """Until no build runs, or is about to, for a while."""
    quiet = 0
    while quiet < 8:
        now = state()
        quiet = quiet + 1 if now.building is None and now.type != "Flat" else 0
        time.sleep(0.25)


async def _report(searches: dict[str, Search], cpu_seconds: dict[str, Callable[[], float]]) -> None:
    """CPU time: of the shard's process for frames, of this one for calls; it bears neighbours on the machine better."""
    for callers in (1, 8):
        rates: dict[str, list[float]] = {name: [] for name in searches}
        waits: dict[str, list[float]] = {name: [] for name in searches}
        used = dict.fromkeys(searches, 0.0)
        for _ in range(ROUNDS):
            for name, search in searches.items():
                before = cpu_seconds[name]()
                rates[name].append(await _round(search, callers, waits[name]))
                used[name] += cpu_seconds[name]() - before
        for name in searches:
            p50, p99 = np.percentile(waits[name], [50, 99]) * 1000
            cpu = 1e6 * used[name] / len(waits[name])
            print(
                f"{callers} callers, {name:10} {median(rates[name]):8.0f} searches/s   p50 {p50:.2f} ms   p99 {p99:.2f} ms   "
                f"{cpu:.0f} µs of CPU a search"
            )
        ratios = [ours / theirs for ours, theirs in zip(rates["frames"], rates["in process"], strict=True)]
        print(
            f"frames / in process: {median(ratios):.2f} (of rounds: {', '.join(f'{ratio:.2f}' for ratio in ratios)})",
            flush=True,
        )


async def _round(search: Search, callers: int, waits: list[float]) -> float:
    end = time.perf_counter() + SECONDS_A_ROUND
    done = 0

    async def caller(first: int) -> None:
        nonlocal done
        number = first
        while (begin := time.perf_counter()) < end:
            await search(number % QUERIES)
            waits.append(time.perf_counter() - begin)
            number += callers
            done += 1

    begin = time.perf_counter()
    await asyncio.gather(*(caller(first) for first in range(callers)))
    return done / (time.perf_counter() - begin)


if __name__ == "__main__":
    sys.exit(main())
