"""Volumes that no generation of the route has: they go when nothing else moves, and none that is needed ever does."""

import pytest

from embedding_operator.resources import CONFIG_MAP, PVC, Manifest
from embedding_serving.contract.route import ROUTE_KEY, Phase
from fixtures.controller import IndexWorld

ACTIVE = ["data-docs-g2-s0-0", "data-docs-g2-s1-0"]


@pytest.fixture
def world() -> IndexWorld:
    """An index in rest at its second generation."""
    world = IndexWorld(shards=2, rebuild={"rollbackWindowSeconds": 0})
    world.settle()
    world.shards.write("docs-g1-s0-0", 30)
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    world.settle(looks=80)
    assert (world.route.phase, world.route.writer) == (Phase.STABLE, 2)
    assert world.names(PVC.kind) == ACTIVE
    return world


def leave_volume(world: IndexWorld, generation: int) -> str:
    name = f"data-docs-g{generation}-s0-0"
    labels = {
        "app.kubernetes.io/managed-by": "embedding-operator",
        "embedding-operator.io/vectorindex": "docs",
        "embedding-operator.io/generation": str(generation),
        "embedding-operator.io/shard": "0",
    }
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    meta = {"name": name, "namespace": "t", "labels": labels}
    world.kube.add(PVC, {"metadata": meta, "spec": spec, "status": {"phase": "Bound"}})
    return name


def test_a_volume_that_was_left_behind_goes(world: IndexWorld) -> None:
    leave_volume(world, 1)
    world.settle()
    assert world.names(PVC.kind) == ACTIVE


def test_a_volume_of_a_generation_that_the_route_has_not_heard_of_stays(world: IndexWorld) -> None:
    later = leave_volume(world, 7)
    world.settle()
    assert world.names(PVC.kind) == [*ACTIVE, later]


def test_none_goes_while_a_shard_does_not_answer(world: IndexWorld) -> None:
    left = leave_volume(world, 1)
    world.shards.silent = {"docs-g2-s1-0"}
    for _ in range(5):
        world.reconcile()
    assert left in world.names(PVC.kind)
    world.shards.silent = set()
    world.settle()
    assert world.names(PVC.kind) == ACTIVE


def test_none_goes_while_the_index_is_paused(world: IndexWorld) -> None:
    left = leave_volume(world, 1)
    world.annotate(paused="true")
    world.settle()
    assert left in world.names(PVC.kind)


def test_in_every_other_phase_all_volumes_but_the_collected_ones_stay(world: IndexWorld) -> None:
    """Through a rebuild that is given up, and one that is switched to and gone back from."""
    seen: set[Phase] = set()

    def look() -> None:
        before = set(world.names(PVC.kind))
        world.reconcile()
        phase, gone = world.route.phase, before - set(world.names(PVC.kind))
        collected = f"data-docs-g{world.route.other}-" if phase is Phase.COLLECTING else "none"
        if phase is not Phase.STABLE:
            assert all(name.startswith(collected) for name in gone), f"{phase}: {gone}"
        assert not any(name.startswith(f"data-docs-g{world.route.writer}-") for name in gone)
        world.roll_out()
        seen.add(phase)

    def until(phase: Phase) -> None:
        for _ in range(60):
            look()
            if world.route.phase is phase:
                return
        pytest.fail(f"{phase} never came")

    world.edit(rebuild={"rollbackWindowSeconds": 3_600})
    world.shards.copying = False
    world.serve_model(revision="5a5b5c5d", fingerprint="fp-3")
    until(Phase.BUILDING)
    left = leave_volume(world, 1)
    world.annotate(abort="3")
    until(Phase.COLLECTING)
    assert left in world.names(PVC.kind)
    until(Phase.STABLE)
    world.settle()
    assert left not in world.names(PVC.kind)
    world.shards.copying = True
    world.annotate(retry="3")
    until(Phase.BUILDING)
    leave_volume(world, 1)
    until(Phase.OBSERVING)
    world.annotate(rollback=str(world.route.writer))
    until(Phase.FENCING)
    until(Phase.OBSERVING)
    look()
    assert left in world.names(PVC.kind)
    world.edit(rebuild={"rollbackWindowSeconds": 0})
    world.settle(looks=80)
    assert seen == set(Phase)
    assert left not in world.names(PVC.kind)
    assert world.names(PVC.kind) == ACTIVE


def test_a_route_that_was_deleted_by_hand_collects_what_nobody_wants(world: IndexWorld) -> None:
    def forget(live: Manifest) -> None:
        live["data"].pop(ROUTE_KEY)

    left = leave_volume(world, 1)
    world.kube.edit(CONFIG_MAP, "t", "docs-route", forget)
    world.settle()
    assert left in world.names(PVC.kind), "nothing is done while the route cannot be read"
    world.kube.remove(CONFIG_MAP, "t", "docs-route")
    world.settle(looks=80)
    assert world.route.writer == 2
    assert world.names(PVC.kind) == ACTIVE
