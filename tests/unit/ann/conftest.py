"""A store without a disk, and indexes small enough to be built in a test."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest

from embedding_serving.contract.index import Distance, IndexOptions
from embedding_serving.shard.ann.arrays import Rows, Vectors
from embedding_serving.shard.ann.index import VectorIndex
from embedding_serving.shard.ann.limits import Limits

DIMENSIONS = 16
SMALL = Limits(
    exact_rows=200,
    exact_filter_rows=40,
    fold_rows=16,
    growth_rows_min=500,
    dead_rows_min=100,
    snapshot_seconds=0.05,
    retry_seconds=0.05,
    check_seconds=0.01,
    rest_factor=0.0,
    first_capacity=64,
    allocate_bytes=1 << 16,
)


class MemoryStore:
    """The truth: rows and their vectors. What `commit` returns is what the writer tells the index."""

    def __init__(self, dimensions: int = DIMENSIONS) -> None:
        self.dimensions = dimensions
        self.live: dict[int, np.ndarray] = {}
        self.next_row = 1
        self._lock = threading.Lock()

    def commit(self, added: Vectors, removed: list[int]) -> tuple[Rows, Vectors, Rows]:
        with self._lock:
            rows = np.arange(self.next_row, self.next_row + len(added), dtype=np.int64)
            # A tombstone takes a number too, so that numbers have gaps.
            self.next_row += len(added) + len(removed)
            self.live.update(zip(rows.tolist(), added, strict=True))
            for row in removed:
                del self.live[row]
        return rows, added, np.array(removed, dtype=np.int64)

    def live_rows(self, above: int) -> Rows:
        with self._lock:
            return np.array(sorted(row for row in self.live if row > above), dtype=np.int64)

    def vectors(self, above: int, limit: int) -> tuple[Rows, Vectors]:
        rows = self.live_rows(above)[:limit]
        return rows, np.array([self.live[row] for row in rows.tolist()], dtype=np.float32).reshape(-1, self.dimensions)

    def nearest(self, query: Vectors, k: int, distance: Distance, allowed: Rows | None = None) -> list[tuple[int, float]]:
        """By definition: every live row scored in float64."""
        rows = self.live_rows(0) if allowed is None else np.intersect1d(self.live_rows(0), allowed)
        if not len(rows):
            return []
        vectors = np.array([self.live[row] for row in rows.tolist()], dtype=np.float64)
        exact = query.astype(np.float64)
        scores = -((vectors - exact) ** 2).sum(axis=1) if distance is Distance.EUCLIDEAN else vectors @ exact
        order = np.argsort(-scores, kind="stable")[:k]
        return [(int(rows[place]), float(scores[place])) for place in order]


class Open(Protocol):
    def __call__(
        self,
        store: MemoryStore,
        *,
        options: IndexOptions = ...,
        distance: Distance = ...,
        limits: Limits = ...,
        identity: str = ...,
    ) -> VectorIndex: ...


@pytest.fixture
def open_index(tmp_path: Path) -> Iterator[Open]:
    """Loads an index of the test's directory; closed at the end of the test at the latest."""
    with ExitStack() as opened:

        def open_(
            store: MemoryStore,
            *,
            options: IndexOptions | None = None,
            distance: Distance = Distance.EUCLIDEAN,
            limits: Limits = SMALL,
            identity: str = "",
        ) -> VectorIndex:
            directory = tmp_path / "cache"
            index = VectorIndex(
                directory, store.dimensions, distance, options or IndexOptions(), store, limits=limits, identity=identity
            )
            index.load()
            opened.callback(index.close)
            return index

        yield open_


def wait_until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Fails with `what` where the condition does not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.005)


def built(index: VectorIndex) -> bool:
    """An engine is at work and no build is due."""
    state = index.state()
    return state.type != "Flat" and state.building is None


def clustered(random: np.random.Generator, count: int, dimensions: int = DIMENSIONS, clusters: int = 20) -> Vectors:
    """float32 [count, dimensions], not normalised; the clusters are the same for every generator."""
    centres = np.random.default_rng(7).standard_normal((clusters, dimensions))
    vectors = centres[random.integers(0, clusters, count)] + 0.4 * random.standard_normal((count, dimensions))
    return vectors.astype(np.float32)


def same(
    store: MemoryStore, index: VectorIndex, query: Vectors, k: int, distance: Distance, allowed: Rows | None = None
) -> None:
    """The index answers as the definition does; of rows with equal scores any may come."""
    expected = store.nearest(query, k, distance, allowed)
    rows, scores = index.search(query[None], k, allowed)
    found = int((rows[0] >= 0).sum())
    assert found == len(expected)
    assert (rows[0, found:] == -1).all()
    assert len(set(rows[0, :found].tolist())) == found
    np.testing.assert_allclose(scores[0, :found], [score for _, score in expected], rtol=1e-4, atol=1e-4)
    live = store.live
    for row, score in zip(rows[0, :found].tolist(), scores[0, :found].tolist(), strict=True):
        own = live[row].astype(np.float64)
        true = -((own - query) ** 2).sum() if distance is Distance.EUCLIDEAN else own @ query
        assert score == pytest.approx(true, rel=1e-4, abs=1e-4)
        assert allowed is None or row in allowed
