"""Recall, filters, changes of options, and searches beside a writer."""

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from embedding_serving.contract.index import Distance, IndexOptions, IndexType
from embedding_serving.shard.ann.arrays import Rows, Vectors
from embedding_serving.shard.ann.errors import UnsupportedIndexTypeError
from embedding_serving.shard.ann.index import VectorIndex
from embedding_serving.shard.ann.limits import Limits

from .conftest import SMALL, MemoryStore, Open, built, clustered, same, wait_until

COUNT, DIMENSIONS = 10_500, 64
TYPES = [IndexType.AUTO, IndexType.PQ_FAST_SCAN, IndexType.IVF_PQ, IndexType.IVF_FLAT, IndexType.HNSW]


def _hard(random: np.random.Generator, count: int) -> Vectors:
    """Unit vectors of 60 clusters that overlap: a query's neighbours are spread over several of them."""
    vectors = clustered(random, count, DIMENSIONS, clusters=60) + 0.6 * random.standard_normal((count, DIMENSIONS))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def _recall(index: VectorIndex, vectors: Vectors, queries: Vectors, allowed: Rows | None = None) -> float:
    """Rows are numbered from 1 in the order of `vectors`."""
    known = np.arange(1, len(vectors) + 1) if allowed is None else allowed
    truth = known[np.argsort(-(queries @ vectors[known - 1].T), axis=1)[:, :10]]
    found = index.search(queries, 10, allowed)[0]
    return float(np.mean([len(np.intersect1d(one, other)) / 10 for one, other in zip(truth, found, strict=True)]))


@pytest.mark.parametrize("type_", TYPES)
def test_recall_is_what_was_asked_for_with_and_without_filters(open_index: Open, type_: IndexType) -> None:
    random = np.random.default_rng(11)
    vectors, queries = _hard(random, COUNT), _hard(random, 60)
    store = MemoryStore(DIMENSIONS)
    store.commit(vectors, [])
    options = IndexOptions(type=type_, ef_construction=80)
    index = open_index(
        store, options=options, distance=Distance.COSINE, limits=Limits(check_seconds=0.01, exact_filter_rows=100)
    )
    wait_until(lambda: built(index), "a build")
    assert _recall(index, vectors, queries) >= 0.97
    for share in (0.01, 0.1, 0.5):
        allowed = np.flatnonzero(random.random(COUNT) < share).astype(np.int64) + 1
        assert _recall(index, vectors, queries, allowed) >= 0.97, share
    # What is allowed lies as far from every query as can be: the farthest half of the rows.
    far = np.sort(np.argsort(queries.mean(axis=0) @ vectors.T)[: COUNT // 2]) + 1
    assert _recall(index, vectors, queries, far.astype(np.int64)) >= 0.97
    index.sample_recall()
    assert index.state().recall is not None


def test_an_exact_search_compares_with_every_vector_whatever_the_index_finds(open_index: Open) -> None:
    random = np.random.default_rng(12)
    vectors, queries = _hard(random, COUNT), _hard(random, 20)
    store = MemoryStore(DIMENSIONS)
    store.commit(vectors, [])
    options = IndexOptions(type=IndexType.IVF_FLAT, lists=200, target_recall_percent=1)
    index = open_index(store, options=options, distance=Distance.COSINE, limits=Limits(check_seconds=0.01))
    wait_until(lambda: built(index), "a build")
    truth = np.argsort(-(queries @ vectors.T), axis=1)[:, :10] + 1
    assert not np.array_equal(index.search(queries, 10)[0], truth), "the index would have found them all"
    assert np.array_equal(index.search(queries, 10, exact=True)[0], truth)
    allowed = np.arange(1, COUNT, 2, dtype=np.int64)
    expected = allowed[np.argsort(-(queries @ vectors[allowed - 1].T), axis=1)[:, :10]]
    assert np.array_equal(index.search(queries, 10, allowed, exact=True)[0], expected)


def test_another_type_replaces_the_first_in_place_and_survives_a_restart(open_index: Open) -> None:
    store = MemoryStore()
    store.commit(clustered(np.random.default_rng(1), 400), [])
    index = open_index(store)
    wait_until(lambda: built(index), "the first build")
    index.configure(IndexOptions(type=IndexType.HNSW, m=8))
    wait_until(lambda: index.state().type == IndexType.HNSW, "the other type")
    index.close()
    index = open_index(store, options=IndexOptions(type=IndexType.HNSW, m=8))
    assert index.state().type == IndexType.HNSW
    with pytest.raises(UnsupportedIndexTypeError):
        index.configure(IndexOptions(type=IndexType.SCANN))
    assert index.state().type == IndexType.HNSW


def test_searches_beside_a_writer_that_folds_in_see_every_commit(open_index: Open) -> None:
    """Rows are searched by their own vectors from other threads as soon as `apply` returned."""
    random = np.random.default_rng(2)
    store = MemoryStore()
    store.commit(clustered(random, 400), [])
    index = open_index(store)
    wait_until(lambda: built(index), "a build")
    written: list[tuple[int, Vectors]] = [(1, store.live[1])]
    missed: list[int] = []
    done = threading.Event()

    def look(seed: int) -> None:
        choose = np.random.default_rng(seed)
        while not done.is_set():
            row, vector = written[-1] if choose.random() < 0.5 else written[int(choose.integers(len(written)))]
            if row not in index.search(vector[None], 3)[0][0]:
                missed.append(row)

    readers = [threading.Thread(target=look, args=(seed,)) for seed in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(300):
        rows, vectors, removed = store.commit(clustered(random, 8), [])
        index.apply(rows, vectors, removed)
        written += zip(rows.tolist(), vectors, strict=True)
    done.set()
    for reader in readers:
        reader.join()
    assert not missed
    assert index.state().type == IndexType.PQ_FAST_SCAN


def test_equal_vectors_are_no_loss_of_recall(open_index: Open) -> None:
    store = MemoryStore()
    store.commit(np.repeat(clustered(np.random.default_rng(1), 4), 200, axis=0), [])
    index = open_index(store)
    wait_until(lambda: built(index), "a build")
    rows, scores = index.search(np.array([store.live[1]]), 10)
    assert len(set(rows[0].tolist())) == 10
    np.testing.assert_allclose(scores, 0, atol=1e-5)
    assert index.sample_recall() == 1.0
    assert index.sample_recall() is None, "one query is sampled once"


def test_a_store_of_one_hot_document_does_not_grow_without_bound(open_index: Open) -> None:
    store = MemoryStore()
    index = open_index(store)
    row = store.next_row
    index.apply(*store.commit(np.ones((1, store.dimensions), dtype=np.float32), []))

    for _ in range(1000):
        old, row = row, store.next_row
        index.apply(*store.commit(np.ones((1, store.dimensions), dtype=np.float32), [old]))
    wait_until(lambda: index.state().dead_rows < SMALL.dead_rows_min, "dead rows go though no engine is due")
    same(store, index, np.ones(store.dimensions, dtype=np.float32), 3, Distance.EUCLIDEAN)


def test_rows_that_came_are_built_in_when_no_more_do(open_index: Open) -> None:
    """One engine is faster than two; while rows come, a build for so few would be in vain."""
    store, random = MemoryStore(), np.random.default_rng(3)
    limits = dataclasses.replace(SMALL, quiet_seconds=0.5, quiet_growth_rows_min=50)
    index = open_index(store, limits=limits)
    index.apply(*store.commit(clustered(random, 600), []))
    wait_until(lambda: built(index), "the first build")
    index.apply(*store.commit(clustered(random, 100), []))
    wait_until(lambda: (main := index._loaded.view.main) is not None and main.count == 700, "a build of all rows")
    same(store, index, clustered(random, 1)[0], 10, Distance.EUCLIDEAN)


def test_a_build_that_is_to_come_is_told_while_the_last_one_is_too_recent(open_index: Open) -> None:
    store, random = MemoryStore(), np.random.default_rng(3)
    limits = dataclasses.replace(SMALL, quiet_seconds=0.05, quiet_growth_rows_min=50, rest_factor=1e6)
    index = open_index(store, limits=limits)
    index.apply(*store.commit(clustered(random, 600), []))
    wait_until(lambda: built(index), "the first build")
    index.apply(*store.commit(clustered(random, 100), []))
    wait_until(lambda: "soon after the last one: 100 rows came" in (index.state().building or ""), "it is told")


def test_shapes_that_do_not_fit_are_refused_and_change_nothing(open_index: Open) -> None:
    store = MemoryStore()
    index = open_index(store)
    one = np.array([1], dtype=np.int64)
    none = one[:0]
    for rows, vectors in ((one, np.ones((1, 3))), (one, np.ones((2, store.dimensions))), (one, np.ones((0, store.dimensions)))):
        with pytest.raises(ValueError):
            index.apply(rows, vectors.astype(np.float32), none)
    with pytest.raises(ValueError):
        index.search(np.ones((1, 3), dtype=np.float32), 10)
    with pytest.raises(ValueError):
        index.search(np.ones((1, store.dimensions), dtype=np.float32), 0)
    assert (index.search(np.ones((1, store.dimensions), dtype=np.float32), 10)[0] == -1).all()


def test_deliveries_that_the_load_has_read_already_change_nothing(open_index: Open) -> None:
    store = MemoryStore()
    random = np.random.default_rng(4)
    early = store.commit(clustered(random, 5), [])
    index = open_index(store)
    index.apply(*early)
    late = store.commit(clustered(random, 5), [2, 3])
    index.apply(*late)
    index.apply(*late)
    same(store, index, clustered(random, 1)[0], 20, Distance.EUCLIDEAN)


def test_an_index_may_be_closed_twice_and_needs_no_directory(tmp_path: Path) -> None:
    store = MemoryStore()
    (tmp_path / "file").write_bytes(b"")
    options = IndexOptions()
    index = VectorIndex(tmp_path / "file" / "cache", store.dimensions, Distance.DOT, options, store, limits=SMALL)
    index.load()
    index.apply(*store.commit(clustered(np.random.default_rng(4), 5), []))
    same(store, index, np.ones(store.dimensions, dtype=np.float32), 3, Distance.DOT)
    index.close()
    index.close()
