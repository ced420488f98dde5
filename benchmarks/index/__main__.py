"""`python -m benchmarks.index [--vectors N] [--types T …] [--real FILE.npy]`: one line a measurement, one thread a search.

Searches idle and beside a writer take turns within one run, so that their ratio holds on a machine that others use too.
"""

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from benchmarks.search.synthetic import synthetic

from embedding_serving.contract.index import Distance, IndexOptions, IndexType
from embedding_serving.shard.ann.arrays import Rows, Vectors
from embedding_serving.shard.ann.depths import Look
from embedding_serving.shard.ann.files import read_manifest
from embedding_serving.shard.ann.index import VectorIndex
from embedding_serving.shard.ann.scoring import best, score_range

DIMENSIONS = 384
QUERIES = 1_000
TRUTHS = 100
UPSERTS_PER_SECOND = 5_000
BATCH = 50
ROUNDS = 3


class Array:
    """A store of rows 1 to n that never changes by itself."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def live_rows(self, above: int) -> Rows:
        return np.arange(above + 1, len(self._vectors) + 1, dtype=np.int64)

    def vectors(self, above: int, limit: int) -> tuple[Rows, Vectors]:
        end = min(len(self._vectors), above + limit)
        return np.arange(above + 1, end + 1, dtype=np.int64), self._vectors[above:end]


def main() -> int:
    arguments = _arguments()
    if arguments.real:
        data = np.load(arguments.real, mmap_mode="r", allow_pickle=False)
        queries, vectors = np.array(data[:QUERIES]), data[QUERIES:]
    else:
        data = synthetic(arguments.vectors + QUERIES, DIMENSIONS)
        queries, vectors = data[:QUERIES], data[QUERIES:]
    truth = [_nearest(query, vectors) for query in queries[:TRUTHS]]
    for name in arguments.types:
        with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
            _measure(Path(directory), IndexType(name), vectors, queries, truth, arguments.seconds)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index", description=__doc__)
    parser.add_argument("--vectors", type=int, default=100_000)
    parser.add_argument("--types", nargs="+", default=[IndexType.AUTO], choices=[one.value for one in IndexType])
    parser.add_argument("--real", type=Path, help="float32 [n, 384] as .npy; the first are the queries")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each round beside a writer; 0 = none")
    parser.add_argument("--directory", type=Path, help="where the index goes; absent = the temporary directory")
    return parser.parse_args()


def _measure(directory: Path, type_: IndexType, vectors: Vectors, queries: Vectors, truth: list[Rows], seconds: float) -> None:
    def open_() -> VectorIndex:
        index = VectorIndex(directory, DIMENSIONS, Distance.COSINE, IndexOptions(type=type_), Array(vectors))
        index.load()
        return index

    started = time.monotonic()
    index = open_()
    loaded = time.monotonic() - started
    while index.state().building or (type_ is not IndexType.FLAT and index.state().type == IndexType.FLAT):
        time.sleep(0.05)
    state = index.state()
    engine_bytes = sum(path.stat().st_size for path in directory.glob("main-*"))
    _say(type_, f"{len(vectors):,} vectors", read=f"{loaded:.1f} s", built=f"{time.monotonic() - started - loaded:.1f} s")
    looks = [f"{one.rank}:{one.depth}/{one.effort}={one.recall:.3f}" for one in _looks(directory)]
    _say(type_, "is", type=state.type, looks=",".join(looks), megabytes_a_million=round(engine_bytes / len(vectors)))
    _say(type_, "search", **_recall(index, queries, truth), **_times(lambda i: index.search(queries[[i]], 10), QUERIES))
    random = np.random.default_rng(1)
    for share in (0.01, 0.1, 0.5):
        allowed = np.flatnonzero(random.random(len(vectors)) < share) + 1
        _say(type_, f"filter {share:.0%}", **_filtered(index, vectors, queries[:TRUTHS], allowed))
    if seconds:
        _beside_a_writer(type_, index, vectors, queries, seconds)
    started = time.monotonic()
    index.close()
    closed = time.monotonic() - started
    started = time.monotonic()
    open_().close()
    _say(type_, "restart", close=f"{closed:.2f} s", load=f"{time.monotonic() - started:.2f} s")


def _beside_a_writer(type_: IndexType, index: VectorIndex, vectors: Vectors, queries: Vectors, seconds: float) -> None:
    idle: list[float] = []
    beside: list[float] = []
    applies: list[float] = []
    row = len(vectors)
    for _ in range(ROUNDS):
        _search_for(seconds, index, queries, idle)
        stop = threading.Event()
        writer = threading.Thread(target=_write, args=(index, vectors, row, stop, applies))
        writer.start()
        _search_for(seconds, index, queries, beside)
        stop.set()
        writer.join()
        row = max(row, index.state().covered)
    quiet, busy = np.percentile(idle, 99), np.percentile(beside, 99)
    _say(
        type_,
        f"beside {UPSERTS_PER_SECOND} upserts/s",
        idle_p99=f"{quiet:.2f} ms",
        p99=f"{busy:.2f} ms",
        ratio=f"{busy / quiet:.2f}",
        p50=f"{np.median(idle):.3f} -> {np.median(beside):.3f} ms",
        apply_p50=f"{np.median(applies):.2f} ms a {BATCH}",
        apply_p99=f"{np.percentile(applies, 99):.2f} ms",
        written=len(applies) * BATCH,
    )


def _write(index: VectorIndex, vectors: Vectors, row: int, stop: threading.Event, took: list[float]) -> None:
    random = np.random.default_rng(row)
    none = np.empty(0, dtype=np.int64)
    due = time.monotonic()
    while not stop.is_set():
        rows = np.arange(row + 1, row + 1 + BATCH, dtype=np.int64)
        new = vectors[random.integers(0, len(vectors), BATCH)]
        started = time.perf_counter()
        index.apply(rows, new, none)
        took.append(1e3 * (time.perf_counter() - started))
        row += BATCH
        due += BATCH / UPSERTS_PER_SECOND
        time.sleep(max(0.0, due - time.monotonic()))


def _search_for(seconds: float, index: VectorIndex, queries: Vectors, took: list[float]) -> None:
    until = time.monotonic() + seconds
    number = 0
    while time.monotonic() < until:
        started = time.perf_counter()
        index.search(queries[[number % len(queries)]], 10)
        took.append(1e3 * (time.perf_counter() - started))
        number += 1


def _times(call: Callable[[int], object], count: int) -> dict[str, str]:
    took = []
    processor = time.thread_time()
    for number in range(count):
        started = time.perf_counter()
        call(number)
        took.append(1e3 * (time.perf_counter() - started))
    processor = 1e3 * (time.thread_time() - processor) / count
    return {
        "cpu": f"{processor:.3f} ms",
        "mean": f"{np.mean(took):.3f} ms",
        "p50": f"{np.median(took):.3f} ms",
        "p99": f"{np.percentile(took, 99):.2f} ms",
    }


def _recall(index: VectorIndex, queries: Vectors, truth: list[Rows]) -> dict[str, str]:
    found = [index.search(queries[[number]], 10)[0][0] for number in range(len(truth))]
    return {"recall": f"{np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(truth, found, strict=True)]):.4f}"}


def _filtered(index: VectorIndex, vectors: Vectors, queries: Vectors, allowed: Rows) -> dict[str, str]:
    took, shares, processor = [], [], 0.0
    part = np.ascontiguousarray(vectors[allowed - 1])
    for query in queries:
        truth = allowed[_nearest(query, part) - 1]
        started, working = time.perf_counter(), time.thread_time()
        found = index.search(query[None], 10, allowed)[0][0]
        processor += 1e3 * (time.thread_time() - working) / len(queries)
        took.append(1e3 * (time.perf_counter() - started))
        shares.append(len(np.intersect1d(truth, found)) / 10)
    cpu = f"{processor:.3f} ms"
    return {
        "recall": f"{np.mean(shares):.4f}",
        "cpu": cpu,
        "mean": f"{np.mean(took):.3f} ms",
        "p99": f"{np.percentile(took, 99):.2f} ms",
    }


def _looks(directory: Path) -> tuple[Look, ...]:
    """rank:depth/effort=recall of the calibration."""
    manifest = read_manifest(directory)
    return manifest.engine.depths.looks if manifest and manifest.engine else ()


def _nearest(query: Vectors, vectors: Vectors) -> Rows:
    scores = score_range(query, vectors, 0, len(vectors), Distance.COSINE)
    return best(np.arange(1, len(vectors) + 1, dtype=np.int64), scores, 10)[0]


def _say(type_: IndexType, what: str, **figures: object) -> None:
    print(
        f"{type_:<11} {what:<24}", "  ".join(f"{name.replace('_', ' ')} {value}" for name, value in figures.items()), flush=True
    )


if __name__ == "__main__":
    sys.exit(main())
