import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from embedding_serving.gateway.breaker import FAILURES_TO_OPEN
from embedding_serving.gateway.failures import ShardRefused, ShardUnavailable
from embedding_serving.gateway.fanout import LOST_COPY_SECONDS, NO_COPY_SECONDS, Fanout, Frame, Question, Replies
from embedding_serving.gateway.routes import Pin
from embedding_serving.outgoing.deadline import Deadline
from embedding_serving.outgoing.failures import Moved
from embedding_serving.wire.errors import WireError

from .frame_shards import FrameShard, World, until, world

COUNT = Question([Frame("count", {})])


def counting(number: int, role: str = "Writer") -> FrameShard:
    return FrameShard(role=role, answers={"count": lambda call: {"count": number}})


def failing(error: WireError, role: str = "Writer") -> FrameShard:
    return FrameShard(role=role, answers={"count": lambda call: error})


def hanging(role: str = "Writer") -> FrameShard:
    return FrameShard(role=role, answers={"count": lambda call: asyncio.sleep(60)})


async def ask(
    made: World,
    question: Question = COUNT,
    *,
    seconds: float = 2.0,
    partial: bool = False,
    left: Callable[[Pin], bool] = lambda _: False,
    lost_copy_seconds: float = LOST_COPY_SECONDS,
) -> Replies:
    numbers = range(len(made.shards))
    deadline = Deadline.after(seconds)
    fanout = Fanout(made.metrics, left, lost_copy_seconds)
    return await fanout.ask(made.shards, made.pin, lambda _: question, numbers, deadline, partial=partial)


def counts(replies: Replies) -> list[int]:
    return [reply.answers[0].head["count"] for reply in replies.replies]


async def test_every_shard_answers_in_order() -> None:
    async with world([[counting(number)] for number in range(4)]) as made:
        assert counts(await ask(made)) == [0, 1, 2, 3]


async def test_another_copy_is_asked_where_one_fails() -> None:
    for bad in (failing(WireError("internal", "bug")), failing(WireError("overloaded", "full")), hanging()):
        async with world([[bad, counting(7, "Follower")], [counting(8)]]) as made:
            for _ in range(4):
                assert counts(await ask(made)) == [7, 8]


async def test_a_copy_that_is_lost_in_the_middle_is_made_up_for() -> None:
    lost = hanging()
    async with world([[lost, counting(7, "Follower")]]) as made:
        asking = asyncio.create_task(ask(made, seconds=5))
        await until(lambda: bool(lost.asked) or asking.done())
        await lost.stop()
        assert counts(await asking) == [7]


async def test_a_shard_whose_only_copy_restarts_is_waited_for() -> None:
    only = counting(7)
    async with world([[only]]) as made:
        await only.stop()
        asking = asyncio.create_task(ask(made, seconds=20))
        await asyncio.sleep(3 * NO_COPY_SECONDS)
        await only.start()
        assert counts(await asking) == [7]


@pytest.mark.parametrize("strong", [True, False])
async def test_a_shard_is_not_waited_for_once_reads_go_elsewhere(strong: bool) -> None:
    gone, elsewhere = counting(7), False
    async with world([[gone]]) as made:
        await gone.stop()
        question = Question([Frame("count", {})], strong=strong)
        asking = asyncio.create_task(ask(made, question, seconds=60, left=lambda _: elsewhere))
        await asyncio.sleep(3 * NO_COPY_SECONDS)
        assert not asking.done()
        elsewhere = True
        async with asyncio.timeout(LOST_COPY_SECONDS / 2):
            with pytest.raises(ShardUnavailable):
                await asking


async def test_a_shard_without_copies_for_long_is_not_waited_for() -> None:
    """Nor one that was just lost, where an answer without it will do."""
    gone = counting(7)
    async with world([[counting(1)], [gone]]) as made:
        await gone.stop()
        async with asyncio.timeout(30):
            assert list((await ask(made, seconds=60, partial=True, lost_copy_seconds=50)).failed) == [1]
            made.shards.copies[1].seen -= 50
            with pytest.raises(ShardUnavailable, match="shard 1"):
                await ask(made, seconds=60, lost_copy_seconds=50)


async def test_a_shard_that_does_not_answer_is_named() -> None:
    async with world([[counting(1)], [hanging()]]) as made:
        with pytest.raises(ShardUnavailable, match="shard 1") as failed:
            await ask(made, seconds=0.1)
        assert failed.value.shards == (1,)


async def test_a_partial_answer_says_who_is_missing() -> None:
    async with world([[counting(1)], [hanging()]]) as made:
        replies = await ask(made, seconds=0.1, partial=True)
        assert (counts(replies), list(replies.failed)) == ([1], [1])


async def test_without_any_shard_there_is_no_partial_answer() -> None:
    async with world([[hanging()], [hanging()]]) as made:
        with pytest.raises(ShardUnavailable):
            await ask(made, seconds=0.1, partial=True)


@pytest.mark.parametrize("code", ["moved", "wrong_generation", "wrong_fingerprint"])
async def test_a_shard_of_another_generation_ends_the_attempt_for_all(code: str) -> None:
    route = {"seq": 5}
    async with world([[counting(1)], [failing(WireError(code, "elsewhere", route=route))]]) as made:
        with pytest.raises(Moved) as moved:
            await ask(made, partial=True)
        assert moved.value.route == route


@pytest.mark.parametrize("wrong", [{"g": 2}, {"f": "f2"}])
async def test_an_answer_of_another_space_is_not_believed(wrong: dict[str, Any]) -> None:
    liar = FrameShard(answers={"count": lambda call: {"count": 1} | wrong})
    async with world([[counting(1)], [liar]]) as made:
        with pytest.raises(Moved):
            await ask(made)


async def test_a_fault_of_the_question_is_not_asked_twice() -> None:
    bad = [failing(WireError("bad_request", "k", field="k")), failing(WireError("bad_request", "k", field="k"), "Follower")]
    async with world([bad]) as made:
        with pytest.raises(ShardRefused) as refused:
            await ask(made)
        assert (refused.value.field, sum(len(one.asked) for one in bad)) == ("k", 1)


async def test_a_strong_read_asks_the_writer_alone() -> None:
    writer, follower = counting(1), counting(2, "Follower")
    async with world([[follower, writer]]) as made:
        for _ in range(10):
            assert counts(await ask(made, Question([Frame("count", {})], strong=True))) == [1]
        assert not follower.asked
        assert all(head["consistency"] == "strong" for head in writer.asked)


async def test_a_position_is_asked_of_followers_and_the_writer_is_next() -> None:
    late = failing(WireError("position_not_reached", "behind"), "Follower")
    writer = counting(1)
    async with world([[late, writer]]) as made:
        while not late.asked:  # ties are broken at random
            assert counts(await ask(made, Question([Frame("count", {})], positions={0: 9}))) == [1]
        assert {head.get("position") for head in late.asked} == {9}
        assert {head.get("position") for head in writer.asked} == {None}


async def test_the_frames_of_a_question_go_to_one_copy() -> None:
    copies = [counting(number, role) for number, role in enumerate(["Writer", "Follower", "Follower"])]
    async with world([copies]) as made:
        for _ in range(20):
            replies = await ask(made, Question([Frame("count", {})] * 3))
            assert len({answer.head["count"] for answer in replies.replies[0].answers}) == 1


async def test_reads_are_spread_by_what_is_outstanding() -> None:
    slow, quick = hanging(), counting(2, "Follower")
    async with world([[slow, quick]]) as made:
        pod = next(pod for pod in made.shards.copies[0].pods.values() if pod.is_writer)
        waiting = [pod.send({"op": "count"}, b"", 30.0) for _ in range(3)]
        assert [counts(await ask(made)) for _ in range(5)] == [[2]] * 5
        for one in waiting:
            one.cancel()


async def test_a_pod_of_another_shard_at_the_address_is_not_asked() -> None:
    stranger = counting(5)
    async with world([[counting(1)]]) as made:
        await stranger.start()
        stranger.shard = 3
        assert stranger.server is not None
        hosts = (f"{made.pin.generation.hosts[0]},127.0.0.1:{stranger.server.port}",)
        generation = made.pin.generation.model_copy(update={"hosts": hosts})
        shards = made.fleet.shards(generation)
        await until(lambda: len(shards.copies[0].pods) == 2 and bool(shards.copies[0].readers()))
        assert len(shards.copies[0].readers()) == 1
        await stranger.stop()


async def test_a_probe_that_nobody_waits_for_does_not_keep_the_breaker_shut() -> None:
    elsewhere = failing(WireError("moved", "elsewhere"))
    async with world([[elsewhere], [hanging()]]) as made:
        (pod,) = made.shards.copies[1].pods.values()
        for _ in range(FAILURES_TO_OPEN):
            pod.breaker.failed()
        await until(pod.breaker.allows)
        with pytest.raises(Moved):
            await ask(made)
        assert pod.breaker.allows()
