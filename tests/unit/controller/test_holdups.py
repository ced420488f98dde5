"""What keeps a new generation from coming on stands in the status, beside the one that serves; a switch is no outage."""

import pytest

from embedding_serving.contract.route import Phase
from fixtures.controller import IndexWorld


@pytest.fixture
def world() -> IndexWorld:
    world = IndexWorld(rebuild={"rollbackWindowSeconds": 3_600})
    world.settle()
    world.shards.write("docs-g1-s0-0", 5)
    return world


def test_a_pod_that_does_not_start_is_named(world: IndexWorld) -> None:
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    world.shards.silent.add("docs-g2-s0-0")
    world.settle(ready=False, looks=80)
    assert world.route.phase is Phase.BUILDING
    assert "pod docs-g2-s0-0: it starts" in world.condition("UpToDate")[2]
    assert world.condition("Writable")[0] == "True"


def test_searches_go_on_during_a_switch_and_status_says_so(world: IndexWorld) -> None:
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    seen = set()
    for _ in range(80):
        world.reconcile()
        world.roll_out()
        seen.add((world.route.phase, world.condition("Ready")[0]))
    assert (Phase.OBSERVING, "True") in seen
    assert {ready for _, ready in seen} == {"True"}
