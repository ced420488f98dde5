"""Load on a gateway through its public HTTP API, JSON in and out.

… job.json            search and upsert as the job says
… job.json load       store every document once; prints one JSON line
"""

import asyncio
import base64
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import uvloop

from .closed_loop import Ask, Store, run
from .http_client import Connection, request_bytes
from .job import Job, K

LOAD_BATCH = 250
LOAD_CONNECTIONS = 4


def encoded(vector: Any, target: dict[str, Any]) -> Any:
    """float32 [dim] as a list of numbers, or as base64 of its bytes where the target says so."""
    return base64.b64encode(vector.tobytes()).decode() if target["base64"] else vector


def dumps(body: dict[str, Any]) -> bytes:
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def search_requests(job: Job) -> list[bytes]:
    assert job.search
    target = dict(job.target)
    body: dict[str, Any] = {"fingerprint": target["fingerprint"], "k": K, "include": ["text", "metadata"]}
    if job.search.percent is not None:
        body["filter"] = {"must": [{"key": "percentile", "range": {"lt": job.search.percent}}]}
    return [request_bytes("/v1/search", dumps({**body, "vector": encoded(query, target)})) for query in job.queries]


async def searching(target: dict[str, Any], requests: Sequence[bytes]) -> Ask:
    connection = await Connection.open("127.0.0.1", target["port"])

    async def ask(query: int) -> bytes:
        return await connection.post(requests[query])

    return ask


async def storing(job: Job, payloads: Sequence[dict[str, Any]]) -> Store:
    target, vectors = dict(job.target), job.documents
    connection = await Connection.open("127.0.0.1", target["port"])

    async def store(numbers: Sequence[int]) -> None:
        documents = [{"id": str(n), "vector": encoded(np.array(vectors[n]), target), **payloads[n]} for n in numbers]
        body = {"fingerprint": target["fingerprint"], "documents": documents}
        answer = orjson.loads(await connection.post(request_bytes("/v1/documents", dumps(body))))
        for result in answer["results"]:
            if "error" in result:
                raise RuntimeError(f"a document was refused: {result}")

    return store


def numbers(answer: bytes) -> list[int]:
    return [int(hit["id"]) for hit in orjson.loads(answer)["hits"]]


async def measure(job: Job) -> None:
    target = dict(job.target)
    requests = search_requests(job) if job.search else []
    payloads = job.payloads() if job.upsert else []
    ask = [await searching(target, requests) for _ in range(job.search.connections if job.search else 0)]
    store = [await storing(job, payloads) for _ in range(job.upsert.connections if job.upsert else 0)]
    (await run(job, ask, store, numbers)).write(job.result)


async def load(job: Job) -> None:
    count, payloads = len(job.documents), job.payloads()
    starts = iter(range(0, count, LOAD_BATCH))

    async def worker() -> None:
        store = await storing(job, payloads)
        for start in starts:
            await store(range(start, min(start + LOAD_BATCH, count)))

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(LOAD_CONNECTIONS)))
    print(json.dumps({"load_seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    asked = Job.read(Path(sys.argv[1]))
    uvloop.run(load(asked) if sys.argv[2:] == ["load"] else measure(asked))
