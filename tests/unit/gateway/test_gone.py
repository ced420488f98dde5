"""Hits whose documents are gone: the copies let go of them a little later, and others take their place meanwhile."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_serving.gateway.fanout import Fanout
from embedding_serving.gateway.members import Include, Space
from embedding_serving.gateway.routes import Routes
from embedding_serving.gateway.search import SearchContext, Searcher
from embedding_serving.gateway.search_request import Search
from embedding_serving.outgoing.deadline import Deadline
from embedding_serving.wire.calls import Call

from .frame_shards import FrameShard, found, route_to, world

COUNT = 20
VECTOR = np.array([1, 0], np.float32)


class Shard:
    """Rows 0, 1, 2 … by score, of which the first `gone` have no documents any more."""

    def __init__(self, gone: int, count: int = COUNT) -> None:
        self.gone = gone
        self.count = count
        self.frames = FrameShard(answers={"search": self._search, "keywords": self._search, "fetch": self._fetch})

    @property
    def asked(self) -> list[int]:
        return [head["k"] for head in self.frames.ops("search")]

    def _document(self, row: int) -> list[Any] | None:
        return None if row < self.gone else [row, f"d{row}", f"1.{row}", None, None, None]

    def _search(self, call: Call) -> Any:
        rows = list(range(min(call.head["k"], self.count)))
        head, tail = found(
            rows * call.head.get("queries", 1), [1.0 - row / COUNT for row in rows] * call.head.get("queries", 1)
        )
        head["n"] = len(rows)
        told = rows[: call.head.get("documents_first", len(rows))]
        return (
            head | {"documents": [[self._document(row) for row in told]] * call.head.get("queries", 1)}
            if call.head["documents"]
            else head
        ), tail

    def _fetch(self, call: Call) -> Any:
        return {"documents": [self._document(row) for row in call.head["rows"]]}, b"\0" * 8 * sum(
            row >= self.gone for row in call.head["rows"]
        )


async def answered(shard: Shard, tmp_path: Path, *searches: Search, others: Sequence[Shard] = ()) -> list[list[str]]:
    async with world([[one.frames] for one in (shard, *others)]) as made:
        routes = Routes("docs", "test", tmp_path)
        routes.offer(route_to(made.pin.generation))
        searcher = Searcher(routes, made.fleet, Fanout(made.metrics), None, None)  # type: ignore[arg-type]
        answer = await searcher.find(searches, SearchContext(Deadline.after(5), "trace"))
    return [[hit["id"] for hit in one.hits] for one in answer.results]


def search_of(k: int, *, vector: bool = False, keywords: str | None = None) -> Search:
    return Search("", None, VECTOR, Space("f1"), keywords, k, None, Include(vector=vector), None, False, False)


async def ids(shard: Shard, tmp_path: Path, k: int, *, vector: bool = False) -> list[str]:
    return (await answered(shard, tmp_path, search_of(k, vector=vector)))[0]


async def test_each_search_of_a_batch_has_as_many_as_it_asks_for(tmp_path: Path) -> None:
    """Hybrid searches of different k are asked together."""
    few, many = await answered(Shard(1), tmp_path, search_of(1, keywords="a"), search_of(4, keywords="a"))
    assert (few, many) == (["d1"], ["d1", "d2", "d3", "d4"])


async def test_documents_that_a_shard_left_out_are_fetched_and_no_others(tmp_path: Path) -> None:
    """All hits lie in one of two shards: it sends those of the first 14 with them."""
    shard, empty = Shard(0), Shard(0, count=0)
    (found,) = await answered(shard, tmp_path, search_of(15), others=[empty])
    assert found == [f"d{row}" for row in range(15)]
    assert shard.asked == [15]
    (fetch,) = shard.frames.ops("fetch")
    assert fetch["rows"] == list(range(14, 15))
    assert not empty.frames.ops("fetch")


@pytest.mark.parametrize("vector", [False, True], ids=["at once", "fetched"])
@pytest.mark.parametrize(("gone", "asked"), [(0, [2]), (1, [2, 4]), (2, [2, 6]), (6, [2, 6, 14])])
async def test_others_take_the_place_of_hits_that_are_gone(tmp_path: Path, gone: int, asked: list[int], vector: bool) -> None:
    shard = Shard(gone)
    assert await ids(shard, tmp_path, 2, vector=vector) == [f"d{gone}", f"d{gone + 1}"]
    assert shard.asked == asked


async def test_no_more_are_looked_for_where_there_are_none(tmp_path: Path) -> None:
    shard = Shard(gone=1, count=3)
    assert await ids(shard, tmp_path, 5) == ["d1", "d2"]
    assert shard.asked == [5, 7]
