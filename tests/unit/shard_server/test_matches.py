import random
from typing import Any

import numpy as np
import pytest

from embedding_serving.filters import Filter, FilterError, parse
from embedding_serving.shard import matches
from embedding_serving.shard.matches import Matches
from embedding_serving.shard.store.records import Rows


class Table:
    """Rows with a number as their value, as a store would find them."""

    def __init__(self) -> None:
        self.rows: dict[int, int] = {}
        self.position = 0
        self.read: list[int] = []

    def put(self, value: int, replaced: int | None = None) -> None:
        self.position += 1
        self.rows[self.position] = value
        if replaced is not None:
            self.rows.pop(replaced, None)

    def rows_of(self, filter_: Filter, above: int = 0) -> tuple[Rows, int]:
        self.read.append(above)
        found = [row for row, value in sorted(self.rows.items()) if row > above and filter_ == parse(of(value))]
        return np.array(found, dtype=np.int64), self.position


def of(value: int) -> dict[str, Any]:
    return {"must": [{"key": "n", "match": {"value": value}}]}


def test_every_live_match_is_there_whatever_was_written_between() -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    rng = random.Random(seed)
    table = Table()
    known = Matches(table, lambda: table.position)
    for _ in range(500):
        for _ in range(rng.randrange(4)):
            live = list(table.rows)
            table.put(rng.randrange(3), rng.choice(live) if live and rng.random() < 0.5 else None)
        value = rng.randrange(3)
        rows = known.rows(of(value))
        assert {row for row, held in table.rows.items() if held == value} <= set(rows.tolist())
        assert rows.tolist() == sorted(set(rows.tolist()))


def test_only_what_came_since_is_read() -> None:
    table = Table()
    for _ in range(10):
        table.put(1)
    known = Matches(table, lambda: table.position)
    known.rows(of(1))
    known.rows(of(1))
    table.put(1)
    assert len(known.rows(of(1))) == 11
    assert table.read == [0, 10]


def test_a_list_of_mostly_replaced_rows_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matches, "STALE_ROWS", 5)
    table = Table()
    known = Matches(table, lambda: table.position)
    for n in range(100):
        table.put(1, replaced=n)
        assert len(known.rows(of(1))) <= 8


def test_memory_is_bounded_and_what_was_dropped_is_found_again() -> None:
    table = Table()
    for n in range(300):
        table.put(n % 30)
    known = Matches(table, lambda: table.position, max_bytes=300)
    for _ in range(2):
        for value in range(30):
            assert len(known.rows(of(value))) == 10
    assert len(table.read) == 60


def test_a_wrong_filter_is_not_remembered() -> None:
    known = Matches(Table(), lambda: 0)
    for _ in range(2):
        with pytest.raises(FilterError):
            known.rows({"must": 1})
