"""While writes wait, the operator reads what decides the next step and nothing else."""

from typing import cast

from embedding_operator.lanes import Key
from embedding_operator.observe.familiar import WHOLE_LOOK_SECONDS, Familiar
from embedding_operator.plan.snapshot import IndexSnapshot
from embedding_operator.resources import STATEFUL_SET
from embedding_serving.contract.route import Phase
from fixtures.controller import IndexWorld


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


def test_what_was_seen_is_worth_something_for_a_moment() -> None:
    now, seen = 0.0, cast("IndexSnapshot", object())
    familiar, key = Familiar(lambda: now), Key("VectorIndex", "t", "docs")
    assert familiar.recent(key) is None
    familiar.note(key, seen)
    assert familiar.recent(key) is seen
    now = WHOLE_LOOK_SECONDS
    assert familiar.recent(key) is None
