"""A generation behind real frames: what its shards are asked, and what their answers make."""

import numpy as np
import pytest
from aiohttp import ClientSession

from embedding_serving.analyse import side as module
from embedding_serving.analyse.side import Hit, Query, ShardSize, Side
from embedding_serving.failure import StartFailed
from embedding_serving.gateway.fanout import Fanout
from embedding_serving.outgoing.encoder import Encoders
from embedding_serving.wire.errors import WireError
from unit.gateway.frame_shards import FrameShard, World, until, world

VECTOR = np.array([1.0, 0.0], dtype=np.float32)


def told(*ids: str) -> list[list[object] | None]:
    return [[number, id_, "1", None, None, None] for number, id_ in enumerate(ids, 1)]


def finding(scores: dict[str, float], **head: object) -> FrameShard:
    """Padded with a row that is none, as where a shard has fewer than k."""
    rows = np.array([*range(1, len(scores) + 1), -1], "<i8").tobytes()
    tail = rows + np.array([*scores.values(), -np.inf], "<f4").tobytes()
    answer = {"n": len(scores) + 1, "documents": [told(*scores)]} | head
    return FrameShard(answers={"search": lambda call: (answer, tail)})


def side_of(made: World, session: ClientSession, seconds: float = 5.0) -> Side:
    pin = made.pin._replace(canary=True)
    return Side(pin, made.fleet, Fanout(made.metrics), Encoders(session, made.metrics.encoder_call), seconds, "test")


async def test_the_best_of_all_shards_come_first_and_a_closed_one_is_asked_as_a_canary() -> None:
    async with ClientSession() as session, world([[finding({"a": 0.75, "b": 0.25})], [finding({"c": 0.5})]]) as made:
        assert await side_of(made, session).near(VECTOR, 2) == [Hit("a", 0.75), Hit("c", 0.5)]
        for (one,) in made.copies:
            (head,) = one.ops("search")
            assert head["canary"] is True
            assert "exact" not in head


async def test_a_shard_that_does_not_know_exact_searches_is_not_believed() -> None:
    async with ClientSession() as session, world([[finding({"a": 1.0}, exact=True)]]) as made:
        assert [hit.id for hit in await side_of(made, session).near(VECTOR, 1, exact=True)] == ["a"]
    async with ClientSession() as session, world([[finding({"a": 1.0}, exact=True)], [finding({"b": 1.0})]]) as made:
        with pytest.raises(StartFailed, match="generation 1: its shards are of a version that cannot search exactly"):
            await side_of(made, session).near(VECTOR, 1, exact=True)


async def test_a_document_gone_since_is_left_out() -> None:
    rows = np.array([1, 2], "<i8").tobytes() + np.array([0.9, 0.8], "<f4").tobytes()
    shard = FrameShard(answers={"search": lambda call: ({"n": 2, "documents": [[None, *told("b")]]}, rows)})
    async with ClientSession() as session, world([[shard]]) as made:
        assert [hit.id for hit in await side_of(made, session).near(VECTOR, 2)] == ["b"]


async def test_a_shard_that_is_busy_for_a_while_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.01)
    answers = [WireError("closed", "not yet"), WireError("closed", "not yet"), {"count": 3, "p": 9}]
    shard = FrameShard(answers={"count": lambda call: answers.pop(0)})
    async with ClientSession() as session, world([[shard]]) as made:
        assert await side_of(made, session).sizes() == [ShardSize(3, 9)]
    assert answers == []


async def test_a_shard_that_stays_away_is_named() -> None:
    shard = FrameShard(answers={"count": lambda call: WireError("closed", "not admitted")})
    async with ClientSession() as session, world([[shard]]) as made:
        with pytest.raises(StartFailed, match="generation 1: shard 0: "):
            await side_of(made, session, 0.3).sizes()


async def test_a_shard_of_another_generation_ends_it_at_once() -> None:
    shard = FrameShard(answers={"count": lambda call: WireError("moved", "generation 1 is retired")})
    async with ClientSession() as session, world([[shard]]) as made:
        with pytest.raises(StartFailed, match="generation 1 is retired"):
            await side_of(made, session).sizes()
        assert len(shard.asked) == 1


async def test_without_a_model_a_document_is_searched_with_its_vector() -> None:
    answer = {"documents": told("a")}, np.array([0.6, 0.8], "<f4").tobytes()
    shard = FrameShard(answers={"get": lambda call: answer})
    async with ClientSession() as session, world([[shard]]) as made:
        side = side_of(made, session)
        query = await side.query_of("a", 512)
        assert query is not None
        assert query.text is None
        vector = await side.vector_of(query)
        assert vector is not None
        assert np.allclose(vector, [0.6, 0.8])
        await until(lambda: shard.ops("get")[0]["include"] == {"text": True, "metadata": False, "vector": True})


async def test_what_a_document_is_and_is_not() -> None:
    gone = FrameShard(answers={"get": lambda call: {"documents": [None]}})
    async with ClientSession() as session, world([[gone]]) as made:
        assert await side_of(made, session).query_of("a", 512) is None
        assert await side_of(made, session).known(["a"]) == set()
    zeros = FrameShard(answers={"get": lambda call: ({"documents": told("a")}, bytes(8))})
    async with ClientSession() as session, world([[zeros]]) as made:
        assert await side_of(made, session).query_of("a", 512) is None, "it has no vector"
        assert await side_of(made, session).known(["a"]) == {"a"}
        assert await side_of(made, session).vector_of(Query(vector=VECTOR)) is VECTOR
