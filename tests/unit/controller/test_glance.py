"""While writes wait, the operator reads what decides the next step and nothing else."""

import asyncio
from typing import cast

import pytest

from embedding_operator.lanes import Key
from embedding_operator.observe.eyes import Eyes
from embedding_operator.observe.familiar import WHOLE_LOOK_SECONDS, Familiar
from embedding_operator.observe.vector_index import observe
from embedding_operator.plan.snapshot import IndexSnapshot
from embedding_operator.resources import CONFIG_MAP, STATEFUL_SET, Manifest
from embedding_serving.contract.admin import ShardInfo
from embedding_serving.contract.route import ROUTE_KEY, Phase
from fixtures.controller import INSTALLATION, IndexWorld


def test_in_the_middle_of_a_switch_children_are_not_read_again() -> None:
    world = IndexWorld(shards=2)
    world.settle()
    world.shards.write("docs-g1-s0-0", 5)
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    process, reads = world.process(), []
    listed = world.kube.list

    async def counting(resource, *args, **more):  # type: ignore[no-untyped-def]
        reads.append((world.route.phase, resource))
        return await listed(resource, *args, **more)

    world.kube.list = counting  # type: ignore[method-assign]
    world.settle(looks=80, process=process)
    assert world.route.phase is Phase.OBSERVING
    switching = [resource for phase, resource in reads if phase in (Phase.FENCING, Phase.COMMITTED)]
    assert switching.count(STATEFUL_SET) == 1, "one whole look"
    assert len(switching) > 10


@pytest.mark.parametrize("looks", [1, 2], ids=["a whole look", "a glance"])
def test_no_answer_of_a_shard_is_newer_than_the_route_that_it_is_held_against(looks: int) -> None:
    """Else what was gathered under one decision is taken for the next one."""
    world = IndexWorld(shards=2)
    world.settle()
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    for _ in range(80):
        if world.route.phase is Phase.FENCING:
            break
        world.reconcile()
        world.roll_out()
    eyes = Eyes(world.kube, world.data_plane, INSTALLATION)
    answered = world.shards.info

    def meanwhile(pod: Manifest) -> ShardInfo | None:
        """Another operator decides while the shards are asked."""
        newer = world.route.model_copy(update={"seq": world.route.seq + 1}).model_dump_json()
        world.kube.edit(CONFIG_MAP, "t", "docs-route", lambda live: live["data"].update({ROUTE_KEY: newer}))
        return answered(pod)

    world.shards.info = meanwhile  # type: ignore[method-assign]
    for _ in range(looks):
        seen = asyncio.run(observe(eyes, "t", "docs"))
    assert seen is not None
    assert seen.glance is (looks == 2)
    assert seen.route.route == world.route


def test_what_was_seen_is_worth_something_for_a_moment() -> None:
    now, seen = 0.0, cast("IndexSnapshot", object())
    familiar, key = Familiar(lambda: now), Key("VectorIndex", "t", "docs")
    assert familiar.recent(key) is None
    familiar.note(key, seen)
    assert familiar.recent(key) is seen
    now = WHOLE_LOOK_SECONDS
    assert familiar.recent(key) is None
