from pathlib import Path

import numpy as np
import pytest

from embedding_serving.contract.index import Distance, IndexType
from embedding_serving.shard.ann.engines import EngineSpec, FaissEngine, make
from embedding_serving.shard.ann.limits import Limits
from embedding_serving.shard.ann.selection import Selections
from embedding_serving.shard.ann.slots import SlotFile

CODES = EngineSpec(type=IndexType.PQ_FAST_SCAN)


@pytest.mark.parametrize(
    ("dimensions", "rows", "distance"), [(64, 4_100, Distance.COSINE), (30, 4_101, Distance.DOT), (6, 999, Distance.EUCLIDEAN)]
)
def test_codes_that_were_read_back_are_found_as_before(tmp_path: Path, dimensions: int, rows: int, distance: Distance) -> None:
    vectors = np.random.default_rng(1).standard_normal((rows, dimensions), dtype=np.float32)
    engine = make(CODES, dimensions, distance, rows)
    engine.train(vectors)
    engine.add(vectors[:700])
    engine.add(vectors[700:])
    engine.save(tmp_path / "engine")
    loaded = FaissEngine.load(tmp_path / "engine", dimensions)
    for allowed in (None, np.full(rows // 8 + 1, 255, np.uint8)):
        before, after = engine.search(vectors[:20], 50, 0), loaded.search(vectors[:20], 50, 0, allowed)
        assert np.array_equal(np.sort(before.nearness), np.sort(after.nearness))
        assert np.array_equal(np.sort(before.slots), np.sort(after.slots))


@pytest.mark.parametrize("type_", [IndexType.IVF_PQ, IndexType.IVF_FLAT])
def test_one_list_of_another_type_is_read_back_too(tmp_path: Path, type_: IndexType) -> None:
    vectors = np.random.default_rng(3).standard_normal((500, 16), dtype=np.float32)
    engine = make(EngineSpec(type=type_, lists=1), 16, Distance.COSINE, len(vectors))
    engine.train(vectors)
    engine.add(vectors)
    engine.save(tmp_path / "engine")
    loaded = FaissEngine.load(tmp_path / "engine", 16)
    assert loaded.selects == (type_ is IndexType.IVF_PQ)
    assert np.array_equal(engine.search(vectors[:5], 20, 1).slots, loaded.search(vectors[:5], 20, 1).slots)


def test_what_is_not_allowed_is_not_found_and_what_is_appended_is(tmp_path: Path) -> None:
    vectors = np.random.default_rng(2).standard_normal((2_000, 32), dtype=np.float32)
    engine = make(CODES, 32, Distance.COSINE, len(vectors))
    engine.train(vectors)
    engine.add(vectors)
    allowed = np.arange(len(vectors)) % 3 == 1
    found = engine.search(vectors[:10], 100, 0, np.packbits(allowed, bitorder="little")).slots
    assert (found >= 0).all()
    assert allowed[found].all()
    tail = engine.appendable()
    for start in (0, 256, 600):
        chunk = tail.blank()
        chunk.add(vectors[start : start + 344])
        tail.take(chunk)
    assert tail.count == 3 * 344


def test_a_selection_is_kept_until_its_rows_or_the_slots_change(tmp_path: Path) -> None:
    slots = SlotFile(tmp_path, 1, 2, Limits(first_capacity=64))
    slots.append(np.arange(1, 11), np.zeros((10, 2), np.float32))
    selections, rows = Selections(), np.array([2, 5, 99])
    first = selections.of(rows, slots.view())
    assert first.slots().tolist() == [1, 4]
    assert selections.of(rows, slots.view()) is first
    assert selections.of(np.array([3]), slots.view()).slots().tolist() == [2]
    slots.append(np.arange(90, 100), np.zeros((10, 2), np.float32))
    assert selections.of(rows, slots.view()).slots().tolist() == [1, 4, 19]
    slots.close()


def test_selections_keep_to_their_bytes(tmp_path: Path) -> None:
    slots = SlotFile(tmp_path, 1, 2, Limits(first_capacity=64))
    slots.append(np.arange(1, 11), np.zeros((10, 2), np.float32))
    selections, lists = Selections(max_bytes=40), [np.array([row]) for row in range(1, 6)]
    made = [selections.of(rows, slots.view()) for rows in lists]
    assert [selections.of(rows, slots.view()) is one for rows, one in zip(lists[3:], made[3:], strict=True)] == [True, True]
    assert selections.of(lists[0], slots.view()) is not made[0]
    slots.close()
