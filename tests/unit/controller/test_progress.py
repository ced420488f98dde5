"""A new generation that does not come on: said after the deadline with what holds it up, and gone on with all the same."""

from collections.abc import Callable
from typing import Any

import pytest

from embedding_operator.resources import CONFIG_MAP, EVENT, POD, PVC, Manifest
from embedding_serving.contract.route import ROUTE_KEY, Phase, Rebuild
from fixtures.controller import IndexWorld

DEADLINE = 600
BUILT = "docs-g2-s0"


@pytest.fixture
def world() -> IndexWorld:
    """A generation that is built and gets no rows."""
    world = IndexWorld(shards=1, rebuild={"progressDeadlineSeconds": DEADLINE, "autoPromotionEnabled": False})
    world.settle()
    world.shards.write("docs-g1-s0-0", 30)
    world.shards.copying = False
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2")
    world.settle(looks=80)
    assert world.route.phase is Phase.BUILDING
    assert world.condition("Stalled")[0] == ""
    return world


def begun_long_ago(world: IndexWorld) -> None:
    def change(live: Manifest) -> None:
        route = world.route
        rebuild = (route.rebuild or Rebuild(id="", generation=2, input_hash="")).model_copy(
            update={"started": "2026-01-01T00:00:00Z"}
        )
        live["data"][ROUTE_KEY] = route.model_copy(update={"rebuild": rebuild}).model_dump_json()

    world.kube.edit(CONFIG_MAP, "t", "docs-route", change)


def pod_without_node(world: IndexWorld) -> None:
    def unscheduled(live: Manifest) -> None:
        told = {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available: 3 Insufficient memory."}
        live["status"] = {"phase": "Pending", "conditions": [told]}

    world.shards.silent = {f"{BUILT}-0"}
    world.kube.edit(POD, "t", f"{BUILT}-0", unscheduled)


def pod_without_image(world: IndexWorld) -> None:
    def waiting(live: Manifest) -> None:
        state = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
        live["status"] = {"phase": "Pending", "containerStatuses": [{"name": "shard", "image": "serving:1", "state": state}]}

    world.shards.silent = {f"{BUILT}-0"}
    world.kube.edit(POD, "t", f"{BUILT}-0", waiting)


def volume_without_disk(world: IndexWorld) -> None:
    claim = f"data-{BUILT}-0"
    world.shards.silent = {f"{BUILT}-0"}
    world.kube.edit(PVC, "t", claim, lambda live: live["status"].update(phase="Pending"))
    regarding: dict[str, Any] = {"kind": "PersistentVolumeClaim", "name": claim}
    event = {"metadata": {"name": "e", "namespace": "t"}, "reason": "ProvisioningFailed", "note": "class fast not found"}
    world.kube.add(EVENT, event | {"regarding": regarding})


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (pod_without_node, "3 Insufficient memory"),
        (pod_without_image, "image serving:1 of container shard: not found"),
        (volume_without_disk, "ProvisioningFailed: class fast not found"),
    ],
)
def test_a_shard_that_never_came_up(world: IndexWorld, fault: Callable[[IndexWorld], None], words: str) -> None:
    fault(world)
    world.reconcile()
    assert words in world.condition("UpToDate")[2], "before the deadline it is said, too"
    assert world.condition("Stalled")[0] == ""
    begun_long_ago(world)
    world.reconcile()
    status, reason, message = world.condition("Stalled")
    assert (status, reason) == ("True", "ProgressDeadlineExceeded")
    assert words in message
    assert BUILT in message
    assert world.condition("Ready")[0] == world.condition("Writable")[0] == "True"


def test_a_shard_that_takes_nothing_and_goes_on_when_it_can(world: IndexWorld) -> None:
    world.shards.idle_seconds = DEADLINE
    world.reconcile()
    assert world.condition("Stalled")[0] == ""
    world.shards.idle_seconds = DEADLINE + 1
    world.reconcile()
    assert world.condition("Stalled")[:2] == ("True", "ProgressDeadlineExceeded")
    assert world.reconcile() == [], "the same is not told again"
    world.shards.idle_seconds, world.shards.copying = 0.0, True
    world.settle(looks=80)
    assert world.condition("Stalled")[0] == ""
    assert world.condition("UpToDate")[:2] == ("False", "AwaitingPromotion")


def test_one_that_was_told_to_wait_is_not_late(world: IndexWorld) -> None:
    world.annotate(pause="2")
    world.settle()
    world.shards.idle_seconds = DEADLINE + 1
    world.reconcile()
    assert world.condition("Stalled")[0] == ""
    world.annotate(pause=None)
    world.reconcile()
    assert world.condition("Stalled")[0] == "", "it was not told yet that it may go on"
    world.settle()
    assert world.condition("Stalled")[0] == "True"


def test_what_keeps_it_from_being_judged_needs_somebody_too(world: IndexWorld) -> None:
    golden = {"goldenQueries": {"configMapRef": {"name": "questions"}}}
    world.edit(rebuild={"progressDeadlineSeconds": DEADLINE, "prePromotionAnalysis": golden})
    world.shards.copying = True
    world.settle(looks=80)
    assert world.condition("Stalled")[:2] == ("True", "GoldenQueriesUnusable")
    assert world.condition("Ready")[0] == "True"
