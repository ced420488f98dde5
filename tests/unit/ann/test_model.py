"""The index against its definition, over random histories: commits, deaths, filters, folding, builds, restarts."""

import dataclasses
import os
import threading
import time

import numpy as np
import pytest

from embedding_serving.contract.index import Distance, IndexOptions, IndexType

from .conftest import SMALL, MemoryStore, Open, built, clustered, same, wait_until

ENGINES = [IndexType.AUTO, IndexType.PQ_FAST_SCAN, IndexType.HNSW, IndexType.IVF_PQ, IndexType.IVF_FLAT]
SEED = int(os.environ.get("TEST_SEED", "0")) or int.from_bytes(os.urandom(4), "big")


def _commit(random: np.random.Generator, store: MemoryStore, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inserts, updates (a new row and the death of the old) and deletes, in one commit."""
    live = list(store.live)
    removed = random.choice(live, size=min(len(live), int(random.integers(0, most))), replace=False).tolist() if live else []
    added = clustered(random, int(random.integers(0, 2 * most)), store.dimensions)
    return store.commit(added, removed)


def _ask(random: np.random.Generator, store: MemoryStore, index: object, distance: Distance) -> None:
    query = clustered(random, 1, store.dimensions)[0]
    k = int(random.choice([1, 3, 10, 60, 1000]))
    allowed = None
    if random.random() < 0.6:
        share = random.choice([0.0, 0.05, 0.3, 0.9])
        # Rows that are dead, or never were, may be allowed too.
        allowed = np.flatnonzero(random.random(store.next_row + 5) < share).astype(np.int64)
    same(store, index, query, k, distance, allowed)  # type: ignore[arg-type]


@pytest.mark.parametrize("distance", list(Distance))
@pytest.mark.parametrize("dimensions", [1, 7, 16])
def test_scans_answer_as_the_definition_does(open_index: Open, distance: Distance, dimensions: int) -> None:
    print("seed", SEED)
    random = np.random.default_rng([SEED, dimensions])
    store = MemoryStore(dimensions)
    index = open_index(store, distance=distance, options=IndexOptions(type=IndexType.FLAT))
    for _ in range(60):
        index.apply(*_commit(random, store, 12))
        _ask(random, store, index, distance)


@pytest.mark.parametrize(
    "type_", [IndexType.AUTO, IndexType.PQ_FAST_SCAN, IndexType.HNSW, IndexType.IVF_PQ, IndexType.IVF_FLAT]
)
def test_every_engine_answers_as_the_definition_does_through_any_history(open_index: Open, type_: IndexType) -> None:
    """The engines see all that they hold, at most 200 each, so that nothing excuses a difference; with more than 200 live
    rows together they, and not a scan, are asked."""
    print("seed", SEED)
    random = np.random.default_rng([SEED, 1])
    limits = dataclasses.replace(SMALL, exact_rows=60)
    options = IndexOptions(type=type_, lists=1) if type_ in (IndexType.IVF_PQ, IndexType.IVF_FLAT) else IndexOptions(type=type_)
    store = MemoryStore()
    store.commit(clustered(random, 190), [])
    index = open_index(store, options=options, limits=limits)
    wait_until(lambda: built(index), "the first build")
    for step in range(34):
        index.apply(*_commit(random, store, 6))
        for _ in range(3):
            _ask(random, store, index, Distance.EUCLIDEAN)
        if step == 17:
            index.close()
            index = open_index(store, options=options, limits=limits)
    assert index.state().type != "Flat"


def test_rows_come_and_go_while_an_engine_is_built_and_the_vectors_are_compacted(open_index: Open) -> None:
    print("seed", SEED)
    random = np.random.default_rng([SEED, 2])
    store = MemoryStore()
    store.commit(clustered(random, 150), [])
    index = open_index(store, limits=dataclasses.replace(SMALL, exact_rows=60))
    wait_until(lambda: built(index), "the first build")  # of no more rows than are seen in whole
    compactions = 0
    deadline = time.monotonic() + 60
    while compactions < 2:
        assert time.monotonic() < deadline, f"{compactions} compactions: {index.state()}"
        before = index.state().dead_rows
        # As few rows as the engines see all of: nothing excuses a difference.
        size = 5 if before < 180 else 0
        old = random.choice(list(store.live), size=size, replace=False).tolist()
        index.apply(*store.commit(clustered(random, size), old))
        compactions += index.state().dead_rows < before
        query = clustered(random, 1)[0]
        same(store, index, query, 3, Distance.EUCLIDEAN)
    wait_until(lambda: built(index), "the last build")
    for _ in range(20):
        same(store, index, clustered(random, 1)[0], 10, Distance.EUCLIDEAN)


def test_an_update_is_seen_whole_or_not_at_all(open_index: Open) -> None:
    """One document, ever replaced: a search at any moment finds exactly one row of it."""
    store = MemoryStore()
    one = np.ones((1, store.dimensions), dtype=np.float32)
    index = open_index(store)
    row = int(store.next_row)
    index.apply(*store.commit(one, []))
    counts: set[int] = set()
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            counts.add(int((index.search(one, 5)[0] >= 0).sum()))

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(3000):
        new = int(store.next_row)
        index.apply(*store.commit(one, [row]))
        row = new
    stop.set()
    reader.join()
    assert counts == {1}
