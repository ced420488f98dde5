"""Qdrant's engine in this very process, without a wire: the line to approach, not a server. Run by the peers' Python.

… job.json            load, one thread a connection
… job.json load       fill a new shard; prints one JSON line
"""

import itertools
import json
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from qdrant_edge import (  # type: ignore[import-not-found]
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    HnswIndexConfig,
    PayloadSchemaType,
    Point,
    Query,
    QueryRequest,
    RangeFloat,
    SearchParams,
    UpdateOperation,
)

from ..job import WARM_UP_QUERIES, Job, K, Result, announce_end, await_start, now

M, EF_CONSTRUCTION = 16, 128
FULL_SCAN_KILOBYTES = 10_000
INDEXING_KILOBYTES = 1_000
ROWS = 1_000
VECTOR = "v"


def load(job: Job) -> None:
    directory = Path(job.target["directory"])
    directory.mkdir(parents=True)
    config = EdgeConfig(
        vectors={VECTOR: EdgeVectorParams(size=job.documents.shape[1], distance=Distance.Dot)},
        hnsw_config=HnswIndexConfig(M, EF_CONSTRUCTION, FULL_SCAN_KILOBYTES),
        optimizers=EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=INDEXING_KILOBYTES),
    )
    shard = EdgeShard.create(str(directory), config)
    shard.update(UpdateOperation.create_field_index("percentile", PayloadSchemaType.Integer))
    started = time.perf_counter()
    store = storing(shard, job)
    count = len(job.documents)
    for start in range(0, count, ROWS):
        store(range(start, min(start + ROWS, count)))
    stored = time.perf_counter()
    shard.optimize()
    built = time.perf_counter()
    shard.close()
    print(json.dumps({"load_seconds": stored - started, "build_seconds": built - stored}))


def storing(shard: EdgeShard, job: Job) -> Callable[[Sequence[int]], None]:
    vectors, payloads = job.documents, job.payloads()

    def store(numbers: Sequence[int]) -> None:
        """Flushed: what returns is on the disk, as the other systems' acknowledgement says."""
        points = [
            Point(n, {VECTOR: vectors[n].tolist()}, {"text": payloads[n]["text"], **payloads[n]["metadata"]}) for n in numbers
        ]
        shard.update(UpdateOperation.upsert_points(points))
        shard.flush()

    return store


def searching(shard: EdgeShard, job: Job) -> Callable[[int], Any]:
    assert job.search
    queries = [Query.Nearest(query.tolist(), using=VECTOR) for query in job.queries]
    params = SearchParams(hnsw_ef=int(job.target.get("effort", 64)))
    percent = job.search.percent
    passes = None if percent is None else Filter(must=[FieldCondition("percentile", range=RangeFloat(lt=percent))])

    def ask(query: int) -> Any:
        request = QueryRequest(limit=K, query=queries[query], with_payload=True, params=params, filter=passes)
        return shard.query(request)

    return ask


def measure(job: Job) -> Result:
    shard = EdgeShard.load(job.target["directory"])
    result = Result(len(job.queries))
    threads: list[threading.Thread] = []
    if job.search:
        ask, turn = searching(shard, job), itertools.count(job.search.first)
        for query in range(WARM_UP_QUERIES):
            ask(query % result.queries)
        threads += [
            threading.Thread(target=_search, args=(ask, turn, job.search.seconds, result))
            for _ in range(job.search.connections)
        ]
    if job.upsert:
        threads.append(threading.Thread(target=_upsert, args=(storing(shard, job), job, result)))
    await_start()
    result.started = now()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    result.ended = now()
    announce_end()
    return result


def _search(ask: Callable[[int], Any], turn: "itertools.count[int]", seconds: float, result: Result) -> None:
    started = now()
    while started < result.started + seconds:
        query = next(turn) % result.queries
        found = ask(query)
        ended = now()
        result.seconds.append(ended - started)
        if result.answers[query, 0] < 0:
            result.answers[query, : len(found)] = [point.id for point in found]
        started = ended


def _upsert(store: Callable[[Sequence[int]], None], job: Job, result: Result) -> None:
    """One thread, whatever the job's connections: the shard has one writer."""
    assert job.upsert
    upsert, count = job.upsert, len(job.documents)
    pace = upsert.batch / upsert.rate if upsert.rate else 0.0
    due = now()
    for start in itertools.cycle(range(upsert.first, count - upsert.batch + 1, upsert.batch)):
        if now() >= result.started + upsert.seconds:
            return
        store(range(start, start + upsert.batch))
        result.acknowledged += upsert.batch
        due = max(due + pace, now() - pace)
        time.sleep(max(0.0, due - now()))


if __name__ == "__main__":
    asked = Job.read(Path(sys.argv[1]))
    if sys.argv[2:] == ["load"]:
        load(asked)
    else:
        measure(asked).write(asked.result)
