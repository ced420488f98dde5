"""Which searches go to the shards in one frame."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from embedding_serving.contract.settings import GatewaySettings
from embedding_serving.gateway.fanout import Fanout
from embedding_serving.gateway.routes import Routes
from embedding_serving.gateway.search import SearchContext, Searcher
from embedding_serving.gateway.search_request import Search
from embedding_serving.outgoing.deadline import Deadline

from .frame_shards import route_to, world
from .test_gone import Shard, search_of

USUAL_SECONDS: float = GatewaySettings.model_fields["timeout_seconds"].default


async def frames(tmp_path: Path, searches: list[Search], seconds: float = USUAL_SECONDS) -> list[int]:
    """Queries of each frame of searches that come at once; every one has its answer."""
    shard = Shard(0)
    async with world([[shard.frames]]) as made:
        routes = Routes("docs", "test", tmp_path)
        routes.offer(route_to(made.pin.generation))
        searcher = Searcher(routes, made.fleet, Fanout(made.metrics), None, None)  # type: ignore[arg-type]
        due = Deadline.after(seconds)
        found = await asyncio.gather(*(searcher.find([one], SearchContext(due, "trace")) for one in searches))
    assert [len(one.results[0].hits) for one in found] == [search.k for search in searches]
    return sorted(head["queries"] for head in shard.frames.ops("search"))


async def test_searches_alike_go_in_one_frame_within_the_usual_time(tmp_path: Path) -> None:
    assert await frames(tmp_path, [search_of(3)] * 5) == [5]


async def test_searches_unlike_go_apart(tmp_path: Path) -> None:
    assert await frames(tmp_path, [search_of(3), search_of(4), search_of(3), replace(search_of(3), strong=True)]) == [1, 1, 2]


async def test_who_is_in_a_hurry_goes_alone(tmp_path: Path) -> None:
    assert await frames(tmp_path, [search_of(3)] * 2, seconds=0.4) == [1, 1]


@pytest.mark.parametrize("many", [2, 3])
async def test_keywords_go_alone(tmp_path: Path, many: int) -> None:
    assert await frames(tmp_path, [search_of(3, keywords="a")] * many) == [1] * many
