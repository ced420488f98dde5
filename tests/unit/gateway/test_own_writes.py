"""A read that brings the position of a write is answered by what has it, whatever share another generation has."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from embedding_serving.contract.route import GenerationRoute
from embedding_serving.gateway.failures import ShardUnavailable
from embedding_serving.gateway.members import NO_SPACE, Include
from embedding_serving.gateway.position import Positions
from embedding_serving.gateway.reads import ReadRequest, Reads
from embedding_serving.gateway.routes import Routes
from embedding_serving.gateway.search import SearchContext, Searcher
from embedding_serving.gateway.search_request import Search
from embedding_serving.outgoing.deadline import Deadline

from .frame_shards import route_to

WRITER = GenerationRoute(generation=1, hosts=("one",), fingerprint="f1", dimensions=2)
CANARY = GenerationRoute(generation=2, hosts=("two",), fingerprint="f2", dimensions=2)
WRITTEN = Positions(1, 1, {0: 7})


class Asked:
    """Fleet and fan-out in one: remembers which generation was to answer first, and does not."""

    generation = 0

    def shards(self, generation: GenerationRoute) -> list[int]:
        self.generation = self.generation or generation.generation
        return [0]

    async def ask(self, *_: Any, **__: Any) -> Any:
        raise ShardUnavailable([0], "not here")


async def by_id(routes: Routes, asked: Any, tokens: list[Positions]) -> None:
    await Reads(routes, asked, asked).get("a", Include(), ReadRequest(Deadline.after(1), tokens))


async def by_words(routes: Routes, asked: Any, tokens: list[Positions]) -> None:
    search = Search("", None, None, NO_SPACE, "words", 1, None, Include(), None, False, False)
    context = SearchContext(Deadline.after(1), "trace", tokens)
    await Searcher(routes, asked, asked, asked, None).find([search], context)


@pytest.mark.parametrize("read", [by_id, by_words])
@pytest.mark.parametrize(("tokens", "generation"), [([], 2), ([WRITTEN], 1)])
async def test_a_read_of_ones_own_write_does_not_go_to_a_canary_that_may_lack_it(
    tmp_path: Path, read: Callable[[Routes, Any, list[Positions]], Awaitable[None]], tokens: list[Positions], generation: int
) -> None:
    routes, asked = Routes("docs", "test", tmp_path), Asked()
    routes.offer(route_to(WRITER, CANARY, weights={2: 100}))
    with pytest.raises(ShardUnavailable):
        await read(routes, asked, tokens)
    assert asked.generation == generation
