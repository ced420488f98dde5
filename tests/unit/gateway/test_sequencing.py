import asyncio
from typing import Any

import pytest

from embedding_serving.gateway.breaker import FAILURES_TO_OPEN
from embedding_serving.gateway.failures import ShardRefused, ShardUnavailable
from embedding_serving.gateway.sequencing import Sequencer
from embedding_serving.outgoing.deadline import Deadline
from embedding_serving.outgoing.failures import Moved
from embedding_serving.wire.calls import Call
from embedding_serving.wire.errors import WireError

from .frame_shards import FrameShard, World, until, world

HEAD = {"request_id": "r1", "issued_at": 1, "changes": []}


def answering(*answers: Any) -> FrameShard:
    """Gives the answers one after the other, and the last for ever."""
    left = list(answers)

    def answer(call: Call) -> Any:
        return left.pop(0) if len(left) > 1 else left[0]

    return FrameShard(answers={"write": answer})


async def write(made: World, seconds: float = 5.0, *, moved_on: bool = False) -> dict[str, Any]:
    sequencer = Sequencer(made.metrics, lambda pin: moved_on)
    answer = await sequencer.write(made.shards.copies[0], made.pin, "write", HEAD, b"", Deadline.after(seconds))
    return answer.head


@pytest.mark.parametrize("code", ["fenced", "closed", "overloaded", "internal", "not_a_writer"])
async def test_a_write_is_sent_again_under_its_request_id_until_it_is_done(code: str) -> None:
    shard = answering(WireError(code, "not now"), WireError(code, "not now"), {"results": []})
    async with world([[shard]]) as made:
        await write(made)
        assert [head["request_id"] for head in shard.asked] == ["r1"] * 3


async def test_a_write_whose_answer_was_lost_is_sent_again_under_its_request_id() -> None:
    shard = FrameShard()

    async def cut(call: Call) -> Any:
        if len(shard.asked) == 1:
            assert shard.server is not None
            for connection in list(shard.server._connections):
                connection.abort()
            await asyncio.sleep(60)
        return {"results": []}

    shard.answers["write"] = cut
    async with world([[shard]]) as made:
        await write(made)
        assert [head["request_id"] for head in shard.asked] == ["r1", "r1"]


async def test_a_held_write_is_counted_while_it_waits() -> None:
    shard = answering(WireError("fenced", "a switch is going on"))
    async with world([[shard]]) as made:
        writing = asyncio.create_task(write(made, 0.5))
        await until(lambda: made.metrics.held_writes._value.get() == 1)
        with pytest.raises(ShardUnavailable, match=r"shard 0.*fenced"):
            await writing
        assert made.metrics.held_writes._value.get() == 0


async def test_a_held_write_begins_anew_under_a_newer_route() -> None:
    async with world([[answering(WireError("fenced", "a switch is going on"))]]) as made:
        with pytest.raises(Moved):
            await write(made, moved_on=True)


@pytest.mark.parametrize("code", ["volume_full", "read_only", "corrupt", "no_follower", "request_expired", "bad_request"])
async def test_what_waiting_does_not_mend_is_told_at_once(code: str) -> None:
    shard = answering(WireError(code, "no"))
    async with world([[shard]]) as made:
        with pytest.raises(ShardRefused):
            await write(made)
        assert len(shard.asked) == 1


async def test_a_client_that_leaves_does_not_call_its_write_back() -> None:
    done = asyncio.Event()
    shard = FrameShard()

    async def slow(call: Call) -> Any:
        await asyncio.sleep(0.05)
        done.set()
        return {"results": []}

    shard.answers["write"] = slow
    async with world([[shard]]) as made:
        writing = asyncio.create_task(write(made))
        await until(lambda: bool(shard.asked))
        writing.cancel()
        async with asyncio.timeout(5):
            await done.wait()


async def test_without_a_writer_the_write_waits_for_one() -> None:
    shard = answering({"results": []})
    shard.role = "Follower"
    async with world([[shard]]) as made:
        writing = asyncio.create_task(write(made))
        await asyncio.sleep(0.05)
        shard.role = "Writer"
        await writing


@pytest.mark.parametrize("answered", [False, True], ids=["no answer", "the pod says so"])
async def test_writes_that_wait_too_long_do_not_keep_reads_from_the_pod(answered: bool) -> None:
    """For a follower, or a disk: the pod is well."""

    async def waits(call: Call) -> Any:
        if not answered:
            await asyncio.sleep(60)
        return WireError("deadline", "the deadline of the call passed")

    shard = FrameShard(answers={"write": waits})
    async with world([[shard]]) as made:
        for _ in range(2 * FAILURES_TO_OPEN):
            with pytest.raises(ShardUnavailable):
                await write(made, 0.05)
        assert made.shards.copies[0].writer() is not None
        assert len(shard.asked) >= 2 * FAILURES_TO_OPEN
