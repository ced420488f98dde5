"""A writer and its follower: catching up, acknowledging, taking over what a lost volume held."""

import shutil
import signal
import time
from pathlib import Path

import pytest

from embedding_serving.contract.admin import Mode
from embedding_serving.wire.errors import WireError

from .conftest import MakeShard
from .shard_process import Caller, calling, until, vectors

PUT_A = [{"op": "put", "id": "a", "vector": True}]
PUT_B = [{"op": "put", "id": "b", "vector": True}]


async def test_a_follower_answers_when_it_has_caught_up_and_says_how_far_it_is(make_shard: MakeShard) -> None:
    writer = make_shard().open()
    made = vectors(300, seed=1)
    async with calling(writer) as gateway:
        written = await gateway.put([f"d{n}" for n in range(300)], made, text="t")
        follower = make_shard(pod=1, writer=writer.host).await_ready()
        async with calling(follower) as reader:
            assert reader.connection.hello["role"] == "Follower"
            assert (await reader.search(made[5], k=1, position=written.head["p"]))[0] == "d5"
            later = await gateway.write([{"op": "delete", "id": "d5"}])
            assert await reader.get(["d5"], position=later.head["p"]) == [None]
            await refused(reader, "not_a_writer", consistency="strong")
            with pytest.raises(WireError, match="not_a_writer"):
                await reader.put(["x"], made[:1])
    until(lambda: writer.info().followers[0].position >= later.head["p"], "the follower's lease reaches the end")
    assert follower.info().digest == writer.info().digest


async def test_a_write_that_wants_a_follower_waits_for_one(make_shard: MakeShard) -> None:
    writer = make_shard(follower_timeout_seconds=0.3).open()
    async with calling(writer) as gateway:
        with pytest.raises(WireError, match="The writer has stored it") as alone:
            await gateway.write(PUT_A, vectors(1, seed=2), acknowledge="Follower", request_id="r")
        assert alone.value.code == "no_follower"
        follower = make_shard(pod=1, writer=writer.host).await_ready()
        written = await gateway.write(PUT_A, vectors(1, seed=2), acknowledge="Follower", request_id="r")
        written = await gateway.write(PUT_B, vectors(1, seed=3), acknowledge="Follower")
        async with calling(follower) as reader:
            assert [document[1] for document in await reader.get(["a", "b"])] == ["a", "b"]
        leases = {one.consumer: one.position for one in writer.info().followers}
        assert leases[follower.settings.pod] >= written.head["p"]


async def test_a_follower_answers_nothing_before_it_has_caught_up(make_shard: MakeShard) -> None:
    follower = make_shard(pod=1, writer="127.0.0.1:1")
    async with calling(follower) as reader:
        assert reader.connection.hello["ready"] is False
        await refused(reader, "not_caught_up")
    assert not follower.is_ready()


async def test_a_follower_survives_the_death_of_its_writer_and_goes_on_with_it(make_shard: MakeShard) -> None:
    writer = make_shard().open()
    async with calling(writer) as gateway:
        await gateway.put(["a"], vectors(1, seed=4))
    port = writer.frame_port
    follower = make_shard(pod=1, writer=writer.host).await_ready()
    writer.end(signal.SIGKILL)
    async with calling(follower) as reader:
        assert (await reader.get(["a"]))[0][1] == "a"
        again = make_shard(frame_port=port).await_ready()
        async with calling(again) as gateway:
            written = await gateway.put(["b"], vectors(1, seed=5))
        assert (await reader.get(["b"], position=written.head["p"], deadline_ms=15_000))[0][1] == "b"


async def test_an_emptied_writer_copies_from_its_follower_before_it_is_admitted(make_shard: MakeShard, tmp_path: Path) -> None:
    writer = make_shard().open()
    made = vectors(50, seed=6)
    async with calling(writer) as gateway:
        await gateway.put([f"d{n}" for n in range(50)], made)
    follower = make_shard(pod=1, writer=writer.host).await_ready()
    until(lambda: follower.info().documents == 50, "the follower has all")
    digest, port = writer.info().digest, writer.frame_port
    writer.end(signal.SIGKILL)
    shutil.rmtree(tmp_path / "data-0")
    emptied = make_shard(frame_port=port).await_ready()
    assert emptied.info().lost
    async with calling(emptied) as gateway:
        await refused(gateway, "closed")
    held = follower.info()
    source = {"shard": 0, "history": held.history, "host": follower.host, "with_vectors": True}
    assert emptied.tell("follow", epoch=2, sources=[source]).status_code == 200
    until(lambda: emptied.info().documents == 50, "the emptied writer has copied")
    assert follower.info().documents == 50
    emptied.open(epoch=3)
    assert emptied.info().digest == digest
    async with calling(emptied) as gateway:
        assert await gateway.search(made[3], k=1) == ["d3"]
        written = await gateway.put(["new"], made[:1])
    async with calling(follower) as reader:
        assert (await reader.get(["new"], position=1, deadline_ms=1_000)) is not None
    until(lambda: follower.info().digest == emptied.info().digest, "the follower is on the new history")
    assert written.head["results"][0]["version"].startswith("3.")


async def test_a_fence_that_nobody_ends_is_lifted_by_the_shard(make_shard: MakeShard) -> None:
    writer = make_shard().open()
    assert writer.tell("fence", epoch=2, deadline_seconds=0.5).json()["mode"] == Mode.FENCED
    async with calling(writer) as gateway:
        with pytest.raises(WireError, match="fenced"):
            await gateway.put(["a"], vectors(1, seed=7))
        assert await gateway.get(["a"]) == [None]
        until(lambda: writer.info().mode is Mode.OPEN, "the fence is lifted")
        await gateway.put(["a"], vectors(1, seed=7))
    assert writer.tell("seal", epoch=2, position=0).json()["code"] == "lifted"


async def test_a_retired_shard_answers_with_the_route_that_took_over(make_shard: MakeShard) -> None:
    writer = make_shard().open()
    generation = {"generation": 2, "hosts": ["docs-g2-s0"], "fingerprint": "other", "dimensions": 8}
    route = {
        "index": "docs", "namespace": "test", "seq": 9, "epoch": 2, "phase": "Committed", "writer": 2,
        "weights": {"2": 100}, "next_generation": 3, "generations": [generation],
    }  # fmt: skip
    assert writer.tell("retire", epoch=2, route=route).status_code == 200
    async with calling(writer) as gateway:
        assert gateway.connection.hello["retired"]
        for attempt in (gateway.get(["a"]), gateway.put(["a"], vectors(1, seed=8))):
            with pytest.raises(WireError) as moved:
                await attempt
            assert moved.value.code == "moved"
            assert moved.value.route is not None
            assert moved.value.route["seq"] == 9


async def test_expired_documents_are_gone_at_once_and_become_deletions(make_shard: MakeShard) -> None:
    writer = make_shard().open()
    soon = time.time_ns() // 1_000_000 + 300
    async with calling(writer) as gateway:
        await gateway.put(["a", "b"], vectors(2, seed=9), expires_at=soon)
        await gateway.put(["c"], vectors(1, seed=10))
        until(lambda: writer.info().tombstones == 2, "expiry is sequenced")
        assert await gateway.search(vectors(1, seed=10)[0], k=5) == ["c"]


async def refused(caller: Caller, code: str, **head: object) -> None:
    with pytest.raises(WireError) as error:
        await caller.get(["a"], **head)
    assert error.value.code == code
