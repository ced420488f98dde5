"""A VectorIndex changes its generation: built beside the old one, switched, gone back from, given up, removed."""

import contextlib
from datetime import timedelta
from typing import Any

import pytest

from embedding_operator.dataplane import PodError
from embedding_operator.lanes import Key
from embedding_operator.loop import Incomplete, Reconciler
from embedding_operator.plan import switch
from embedding_operator.resources import CONFIG_MAP, POD, PVC, STORAGE_CLASS
from embedding_operator.slots import RebuildSlots
from embedding_serving.contract.admin import Activate, Follow, GatewayInfo, Message, Mode, Retire, Unfence
from embedding_serving.contract.route import Phase
from embedding_serving.shard.store import protocol
from fixtures.controller import INSTALLATION, IndexWorld


@pytest.fixture
def world() -> IndexWorld:
    """Two shards with documents, and an index that another model is about to be made for."""
    world = IndexWorld(shards=2, rebuild={"rollbackWindowSeconds": 3_600})
    world.settle()
    world.shards.write("docs-g1-s0-0", 30)
    world.shards.write("docs-g1-s1-0", 20)
    return world


def documents(world: IndexWorld, generation: int) -> set[str]:
    return {
        id_
        for name, volume in world.shards.volumes.items()
        if name.startswith(f"docs-g{generation}-") and name.endswith("-0")
        for id_ in volume.documents
    }


def change_model(world: IndexWorld, revision: str = "9f8e7d6c", fingerprint: str = "fp-2") -> None:
    world.serve_model(revision=revision, fingerprint=fingerprint)


def rebuild(world: IndexWorld) -> None:
    """Until the new generation takes writes and nothing is written any more."""
    change_model(world)
    world.settle(looks=80)
    assert world.route.phase is Phase.OBSERVING, world.status


def test_a_new_model_becomes_a_new_generation_that_takes_over(world: IndexWorld) -> None:
    held = documents(world, 1)
    rebuild(world)
    route = world.route
    assert (route.writer, route.other, route.weights) == (2, 1, {2: 100})
    assert documents(world, 2) == held
    modes = {name: volume.mode for name, volume in world.shards.volumes.items()}
    assert modes == {
        "docs-g1-s0-0": Mode.FENCED,
        "docs-g1-s1-0": Mode.FENCED,
        "docs-g2-s0-0": Mode.OPEN,
        "docs-g2-s1-0": Mode.OPEN,
    }
    retired = [name for name, volume in world.shards.volumes.items() if volume.state.protocol.retired]
    assert retired == ["docs-g1-s0-0", "docs-g1-s1-0"]
    assert world.condition("UpToDate")[:2] == ("True", "UpToDate")
    assert world.condition("RollbackAvailable")[:2] == ("True", "Available")
    assert world.status["rollback"]["generation"] == 1


def test_the_one_that_was_left_follows_and_is_gone_back_to(world: IndexWorld) -> None:
    rebuild(world)
    world.shards.write("docs-g2-s0-0", 5)
    held = documents(world, 2)
    assert documents(world, 1) == held
    world.annotate(rollback="2")
    world.settle(looks=80)
    assert (world.route.writer, world.route.phase) == (1, Phase.OBSERVING)
    world.shards.write("docs-g1-s1-0", 3)
    assert documents(world, 1) > held
    assert world.condition("UpToDate")[:2] == ("False", "RolledBack")


def test_a_spec_that_returns_is_the_rollback(world: IndexWorld) -> None:
    rebuild(world)
    change_model(world, "1a2b3c4d", "fp-1")
    world.settle(looks=80)
    assert world.route.writer == 1
    assert world.condition("UpToDate")[:2] == ("True", "UpToDate")


def test_after_the_window_the_former_generation_goes_with_its_volumes(world: IndexWorld) -> None:
    rebuild(world)
    world.edit(rebuild={"rollbackWindowSeconds": 0})
    world.settle(looks=80)
    assert world.route.phase is Phase.STABLE
    assert [one.generation for one in world.route.generations] == [2]
    assert world.names(PVC.kind) == ["data-docs-g2-s0-0", "data-docs-g2-s1-0"]
    assert world.names("StatefulSet") == ["docs-g2-s0", "docs-g2-s1"]


@pytest.mark.parametrize("shards", [1, 3, 5])
def test_another_number_of_shards(world: IndexWorld, shards: int) -> None:
    held = documents(world, 1)
    world.edit(shards=shards)
    world.settle(looks=80)
    assert world.route.active.shards == shards
    assert documents(world, 2) == held


def test_a_generation_that_finds_too_little_is_turned_away_and_not_built_again(world: IndexWorld) -> None:
    world.measured = world.measured | {"recall": 0.5}
    change_model(world)
    world.settle(looks=80)
    assert (world.route.writer, world.route.phase, world.route.next_generation) == (1, Phase.STABLE, 3)
    status, reason, message = world.condition("UpToDate")
    assert (status, reason) == ("False", "GateRefused")
    assert "0.5" in message
    assert "retry=2" in message
    assert world.condition("Ready")[0] == world.condition("Writable")[0] == "True"
    assert world.names("StatefulSet") == ["docs-g1-s0", "docs-g1-s1"]
    world.measured = world.measured | {"recall": 0.99}
    change_model(world, "5a5b5c5d", "fp-3")
    world.settle(looks=80)
    assert world.route.writer == 3


def test_what_is_given_up_is_removed_and_not_begun_again(world: IndexWorld) -> None:
    world.shards.copying = False
    change_model(world)
    world.settle(looks=80)
    assert world.status["rebuild"]["phase"] == "CatchingUp"
    world.annotate(abort="2")
    world.settle(looks=80)
    assert world.route.phase is Phase.STABLE
    assert world.names("StatefulSet") == ["docs-g1-s0", "docs-g1-s1"]
    assert world.condition("UpToDate")[:2] == ("False", "Aborted")
    world.shards.copying = True
    world.annotate(retry="2")
    world.settle(looks=80)
    assert world.route.writer == 3


@pytest.mark.parametrize("begun", ["storage class", "annotation"])
def test_a_rebuild_whose_reason_is_taken_back_is_given_up(world: IndexWorld, begun: str) -> None:
    """Neither is named by the spec any more, so the generation that is built would do too: nobody wants it."""
    world.shards.copying = False
    if begun == "annotation":
        world.annotate(rebuild="again")
    else:
        world.kube.add(STORAGE_CLASS, {"metadata": {"name": "full", "namespace": ""}})
        world.edit(storage={"size": "1Gi", "storageClassName": "full"})
    world.settle(looks=80)
    assert world.route.phase is Phase.BUILDING
    if begun == "annotation":
        world.annotate(rebuild=None)
    else:
        world.edit(storage={"size": "1Gi"})
    world.settle(looks=80)
    assert (world.route.phase, world.route.writer) == (Phase.STABLE, 1)
    assert world.names("StatefulSet") == ["docs-g1-s0", "docs-g1-s1"]
    assert world.condition("UpToDate")[:2] == ("True", "UpToDate")


def test_it_waits_for_a_person_where_the_spec_says_so(world: IndexWorld) -> None:
    world.edit(rebuild={"autoPromotionEnabled": False})
    change_model(world)
    world.settle(looks=80)
    assert world.condition("UpToDate")[:2] == ("False", "AwaitingPromotion")
    assert world.condition("Reconciling")[0] == ""
    world.annotate(promote="2")
    world.settle(looks=80)
    assert world.route.writer == 2


def test_a_paused_one_embeds_nothing(world: IndexWorld) -> None:
    world.annotate(pause="2")
    change_model(world)
    world.settle(looks=80)
    assert world.condition("UpToDate")[:2] == ("False", "Paused")
    world.annotate(resume="2")
    world.settle(looks=80)
    assert world.route.writer == 2


def test_as_many_at_a_time_as_the_operator_may(world: IndexWorld) -> None:
    slots = RebuildSlots(1)
    assert slots.take(Key("VectorIndex", "t", "another"))
    process = Reconciler(world.kube, world.data_plane, INSTALLATION, "test", slots)
    change_model(world)
    world.settle(looks=80, process=process)
    assert world.route.phase is Phase.STABLE
    status, reason, message = world.condition("UpToDate")
    assert (status, reason) == ("False", "Queued")
    assert "maxConcurrentRebuilds" in message
    slots.note(Key("VectorIndex", "t", "another"), rebuilding=False)
    world.settle(looks=80, process=process)
    assert world.route.writer == 2


def test_slow_searches_slow_the_rebuild_down(world: IndexWorld) -> None:
    world.edit(rebuild={"maxSearchLatencyP99Milliseconds": 100, "autoPromotionEnabled": False})
    world.shards.rows_per_second = 40.0
    pod = {"metadata": {"name": "docs-search-1", "namespace": "t", "labels": {"embedding-operator.io/searches-docs": "true"}}}
    world.kube.add(POD, pod)
    world.data_plane.gateways["docs-search-1"] = GatewayInfo(service="docs", index="docs", search_p99_ms=400.0)
    change_model(world)
    for _ in range(12):
        world.reconcile()
        world.roll_out()
    assert 0 < (world.shards.volumes["docs-g2-s0-0"].pace or 0) < 40.0


@pytest.mark.parametrize(
    "change",
    [
        {"index": {"type": "HNSW"}},
        {"fields": [{"name": "lang", "type": "Keyword"}]},
        {"replicas": 2},
        {"storage": {"size": "2Gi"}},
        {"resources": {"limits": {"memory": "2Gi"}}},
        {"rebuild": {"rollbackWindowSeconds": 60}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_is_changed_in_place_makes_no_generation(world: IndexWorld, change: dict[str, object]) -> None:
    world.edit(**change)
    world.settle(looks=80)
    assert (world.route.phase, world.route.next_generation) == (Phase.STABLE, 2)


def test_a_new_engine_or_token_makes_no_generation(world: IndexWorld) -> None:
    """Another revision, the same fingerprint."""
    change_model(world, "9f8e7d6c", "fp-1")
    world.settle(looks=80)
    assert (world.route.phase, world.route.next_generation) == (Phase.STABLE, 2)


def test_several_changes_are_one_rebuild(world: IndexWorld) -> None:
    held = documents(world, 1)
    world.kube.add(STORAGE_CLASS, {"metadata": {"name": "fast", "namespace": ""}})
    world.edit(shards=3, storage={"size": "1Gi", "storageClassName": "fast"})
    change_model(world)
    world.settle(looks=80)
    assert (world.route.writer, world.route.next_generation) == (2, 3)
    assert documents(world, 2) == held
    assert {claim["spec"].get("storageClassName") for claim in claims(world, 2)} == {"fast"}


def claims(world: IndexWorld, generation: int) -> list[dict[str, Any]]:
    return [
        live
        for (kind, _, name), live in world.kube.objects.items()
        if kind == PVC and name.startswith(f"data-docs-g{generation}-")
    ]


def test_another_change_while_it_is_built_begins_anew(world: IndexWorld) -> None:
    world.shards.copying = False
    change_model(world)
    world.settle(looks=80)
    assert world.status["rebuild"]["generation"] == 2
    change_model(world, "5a5b5c5d", "fp-3")
    world.shards.copying = True
    world.settle(looks=120)
    assert (world.route.writer, world.route.active.fingerprint) == (3, "fp-3")
    assert not claims(world, 2)


def test_a_spec_that_is_set_back_while_it_is_built_ends_it(world: IndexWorld) -> None:
    world.shards.copying = False
    change_model(world)
    world.settle(looks=80)
    change_model(world, "1a2b3c4d", "fp-1")
    world.settle(looks=80)
    assert (world.route.writer, world.route.phase) == (1, Phase.STABLE)
    assert world.condition("UpToDate")[0] == "True"
    assert not claims(world, 2)


def test_a_rebuild_can_be_asked_for(world: IndexWorld) -> None:
    world.annotate(rebuild="monday")
    world.settle(looks=80)
    assert world.route.writer == 2
    world.annotate(rebuild=None)
    world.settle(looks=80)
    assert world.route.writer == 2


def test_a_canary_has_its_share_of_the_reads_before_the_switch(world: IndexWorld) -> None:
    world.edit(rebuild={"canary": [{"weightPercent": 10}]})
    change_model(world)
    world.settle(looks=80)
    assert world.route.weights == {1: 90, 2: 10}
    assert world.route.writer == 1
    assert world.status["progress"] == "Canary 10%"
    world.annotate(promote="2")
    world.settle(looks=80)
    assert (world.route.writer, world.route.weights) == (2, {2: 100})


def test_a_lost_route_is_made_again_for_the_generation_that_takes_writes(world: IndexWorld) -> None:
    """Deleted by hand while another generation is being built: the newer one is not the one that serves."""
    world.shards.copying = False
    change_model(world)
    world.settle(looks=80)
    world.kube.remove(CONFIG_MAP, "t", "docs-route")
    world.settle(looks=80)
    assert (world.route.writer, world.route.other, world.route.phase) == (1, 2, Phase.BUILDING)
    world.shards.copying = True
    world.settle(looks=80)
    assert world.route.writer == 2


def hears_late(world: IndexWorld, pod: str, told: type[Message], before: type[Message]) -> None:
    """The pod does not hear the first three of these commands; nobody may be told the others before it has."""
    deaf = 3

    def before_command(name: str, message: Message) -> None:
        nonlocal deaf
        if name == pod and isinstance(message, told) and deaf:
            deaf -= 1
            raise PodError(name, "", "no answer")
        assert not (isinstance(message, before) and deaf), f"{name} was opened before"

    world.shards.before_command = before_command
    while deaf:
        with contextlib.suppress(Incomplete):
            world.reconcile()
        world.roll_out()
    world.settle(looks=80)


def test_nothing_opens_before_the_former_generation_is_retired(world: IndexWorld) -> None:
    """A gateway that has not heard of the switch is told so by whatever it asks."""
    change_model(world)
    hears_late(world, "docs-g1-s1-0", Retire, Activate)
    assert (world.route.writer, world.route.phase) == (2, Phase.OBSERVING)


def test_a_route_lost_in_the_switch_opens_no_shard_before_the_others_cannot_be(world: IndexWorld) -> None:
    """Who switched may have sent the command to open the new generation: it is too old there before the former one opens."""
    change_model(world)
    for _ in range(80):
        world.reconcile()
        world.roll_out()
        if world.route.phase is Phase.COMMITTED:
            break
    world.kube.remove(CONFIG_MAP, "t", "docs-route")
    hears_late(world, "docs-g2-s1-0", Follow, Unfence)
    assert world.route.writer == 2


def test_a_route_lost_after_the_switch_keeps_the_way_back(world: IndexWorld) -> None:
    """And is newer than the lost one: a gateway that knows that one takes no older."""
    rebuild(world)
    known = world.route.seq
    world.kube.remove(CONFIG_MAP, "t", "docs-route")
    world.settle(looks=80)
    assert world.route.seq > known
    assert (world.route.writer, world.route.other, world.route.phase) == (2, 1, Phase.OBSERVING)


def test_retry_after_a_rollback_goes_forward_without_building(world: IndexWorld) -> None:
    rebuild(world)
    world.annotate(rollback="2")
    world.settle(looks=80)
    assert world.route.writer == 1
    world.annotate(retry="2")
    world.settle(looks=80)
    assert (world.route.writer, world.route.next_generation) == (2, 3), "annotation rollback is still there, and was done"
    world.annotate(rollback=None)
    world.settle(looks=80)
    world.annotate(rollback="2")
    world.settle(looks=80)
    assert world.route.writer == 1


def test_a_rollback_whose_fence_was_called_off_is_still_wanted(world: IndexWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to say it again, and nothing was turned down before it was left."""
    rebuild(world)
    world.annotate(rollback="2")
    volume = world.shards.volumes["docs-g2-s0-0"]
    for _ in range(80):
        if volume.mode is Mode.FENCED:
            break
        world.reconcile()
    assert world.route.refused is None
    volume.state = protocol.lift(volume.state)
    world.settle(looks=80)
    assert (world.route.writer, world.route.phase, world.route.refused) == (2, Phase.OBSERVING, None)
    assert "goes back to generation 1 as soon as it can: the fence was called off" in str(world.status["conditions"])
    monkeypatch.setattr(switch, "FIRST_WAIT", timedelta())
    world.settle(looks=80)
    assert (world.route.writer, world.route.phase) == (1, Phase.OBSERVING)
    assert world.condition("UpToDate")[1] == "RolledBack"


def test_an_operator_that_is_about_to_end_puts_up_no_fence(world: IndexWorld) -> None:
    slots = RebuildSlots()
    slots.leaving = True
    change_model(world)
    world.settle(looks=80, process=Reconciler(world.kube, world.data_plane, INSTALLATION, "test", slots))
    assert world.route.phase is Phase.BUILDING
    world.settle(looks=80)
    assert world.route.writer == 2


def test_an_annotation_that_comes_too_late_says_so_once(world: IndexWorld) -> None:
    rebuild(world)
    world.edit(rebuild={"rollbackWindowSeconds": 0})
    world.settle(looks=80)
    world.annotate(rollback="2")
    world.settle(looks=80)
    assert world.route.writer == 2
    assert world.kube.writes.count("event AnnotationUnheeded") == 1


def test_leases_of_a_generation_that_is_gone_are_released(world: IndexWorld) -> None:
    rebuild(world)
    world.edit(rebuild={"rollbackWindowSeconds": 0})
    world.settle(looks=80)
    assert not any(volume.leases for name, volume in world.shards.volumes.items() if name.startswith("docs-g2"))


def test_what_was_left_stays_until_every_gateway_knows(world: IndexWorld) -> None:
    """A gateway that has not heard of the switch is told by the generation that was left."""
    pod = {"metadata": {"name": "docs-search-1", "namespace": "t", "labels": {"embedding-operator.io/searches-docs": "true"}}}
    world.kube.add(POD, pod)
    world.data_plane.gateways["docs-search-1"] = GatewayInfo(service="docs", index="docs", generation=1)
    world.edit(rebuild={"rollbackWindowSeconds": 0})
    change_model(world)
    world.settle(looks=80)
    assert (world.route.writer, world.route.other) == (2, 1)
    world.data_plane.gateways["docs-search-1"] = GatewayInfo(service="docs", index="docs", generation=2)
    world.settle(looks=80)
    assert world.route.other is None
