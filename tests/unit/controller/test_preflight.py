"""What another generation is to cost, and whether it fits, before it is begun."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from embedding_operator.api.quantity import times, written
from embedding_operator.lanes import Key
from embedding_operator.loop import Reconciler
from embedding_operator.plan.estimate import Estimate, Pods, corrected, estimate, round_off
from embedding_operator.resources import RESOURCE_QUOTA, STORAGE_CLASS, VECTOR_INDEX
from embedding_operator.slots import RebuildSlots
from embedding_serving.contract.admin import BuildState
from embedding_serving.contract.route import Phase
from fixtures.controller import INSTALLATION, IndexWorld


@pytest.fixture
def world() -> IndexWorld:
    """Two shards with two copies each, of a gigabyte and half a processor."""
    world = IndexWorld(shards=2, replicas=2, resources={"limits": {"memory": "1Gi"}, "requests": {"cpu": "500m"}})
    world.settle()
    world.shards.write("docs-g1-s0-0", 300)
    world.shards.write("docs-g1-s1-0", 200)
    return world


def limit(world: IndexWorld, hard: dict[str, str], used: dict[str, str], name: str = "team", **spec: Any) -> None:
    status = {"hard": hard, "used": used}
    world.kube.objects.pop((RESOURCE_QUOTA, "t", name), None)
    world.kube.add(RESOURCE_QUOTA, {"metadata": {"name": name, "namespace": "t"}, "spec": spec, "status": status})


def change_model(world: IndexWorld, **model: Any) -> None:
    world.serve_model(revision="9f8e7d6c", fingerprint="fp-2", **model)


@pytest.mark.parametrize(
    ("hard", "used", "fits", "words"),
    [
        ("requests.storage=7Gi", "requests.storage=4Gi", "requests.storage=14Gi", "needs 4Gi of requests.storage"),
        ("persistentvolumeclaims=7", "persistentvolumeclaims=4", "persistentvolumeclaims=8", "needs 4 of persistentvolume"),
        ("pods=10", "pods=7", "pods=11", "needs 4 of pods"),
        ("requests.cpu=5", "requests.cpu=3500m", "requests.cpu=5500m", "needs 2 of requests.cpu"),
        ("requests.memory=6Gi", "requests.memory=4Gi", "requests.memory=8Gi", "needs 4Gi of requests.memory"),
        ("memory=6Gi", "memory=4Gi", "memory=8Gi", "needs 4Gi of memory"),
        ("limits.memory=6Gi", "limits.memory=4Gi", "limits.memory=8Gi", "needs 4Gi of limits.memory"),
        ("count/statefulsets.apps=3", "count/statefulsets.apps=2", "count/statefulsets.apps=4", "needs 2 of count/stateful"),
    ],
)
def test_nothing_begins_that_a_quota_has_no_room_for(world: IndexWorld, hard: str, used: str, fits: str, words: str) -> None:
    limit(world, dict([hard.split("=")]), dict([used.split("=")]))
    change_model(world)
    world.settle(looks=80)
    assert (world.route.phase, world.route.next_generation) == (Phase.STABLE, 2)
    status, reason, message = world.condition("UpToDate")
    assert (status, reason) == ("False", "InsufficientResources")
    assert words in message
    assert "ResourceQuota team" in message
    assert "or lower spec." in message
    assert world.condition("Reconciling")[0] == "", "nothing moves by itself"
    assert world.condition("Ready")[0] == "True"
    assert world.reconcile() == [], "the same is not told again"
    limit(world, dict([fits.split("=")]), dict([used.split("=")]))
    world.settle(looks=80)
    assert world.route.writer == 2


def test_what_a_quota_says_of_other_things_does_not_matter(world: IndexWorld) -> None:
    limit(world, {"count/secrets": "1", "requests.nvidia.com/gpu": "0", "requests.cpu": "100"}, {"count/secrets": "1"})
    limit(world, {"pods": "0"}, {"pods": "0"}, name="best-effort", scopes=["BestEffort"])
    change_model(world)
    world.settle(looks=80)
    assert world.route.writer == 2


def test_devices_of_shards_count(world: IndexWorld) -> None:
    world.edit(resources={"limits": {"nvidia.com/gpu": 1}})
    world.settle(looks=80)
    limit(world, {"requests.nvidia.com/gpu": "6"}, {"requests.nvidia.com/gpu": "4"})
    change_model(world)
    world.settle(looks=80)
    assert "needs 4 of requests.nvidia.com/gpu" in world.condition("UpToDate")[2]


def test_a_storage_class_must_exist(world: IndexWorld) -> None:
    world.edit(storage={"size": "1Gi", "storageClassName": "fast"})
    world.settle(looks=80)
    status, reason, message = world.condition("UpToDate")
    assert (status, reason) == ("False", "InsufficientResources")
    assert "spec.storage.storageClassName is fast" in message
    world.kube.add(STORAGE_CLASS, {"metadata": {"name": "fast", "namespace": ""}})
    world.settle(looks=80)
    assert world.route.active.storage_class == "fast"


def test_rights_that_end_at_the_namespace_are_no_hindrance(world: IndexWorld) -> None:
    world.kube.forbidden = {RESOURCE_QUOTA, STORAGE_CLASS}
    world.edit(storage={"size": "1Gi", "storageClassName": "fast"})
    world.settle(looks=80)
    assert world.route.writer == 2


def test_one_that_does_not_fit_takes_nobodys_turn(world: IndexWorld) -> None:
    limit(world, {"pods": "4"}, {"pods": "4"})
    slots = RebuildSlots(1)
    process = Reconciler(world.kube, world.data_plane, INSTALLATION, "test", slots)
    change_model(world)
    world.settle(looks=80, process=process)
    assert world.condition("UpToDate")[1] == "InsufficientResources"
    assert slots.take(Key(VECTOR_INDEX.kind, "t", "another"))


def test_the_cost_is_told_before_it_begins_and_while_it_is_built(world: IndexWorld) -> None:
    limit(world, {"pods": "4"}, {"pods": "4"})
    change_model(world, ready=2, tokens_per_second=200)
    world.settle(looks=80)
    told = "about 500 documents, 50k tokens to embed in about 2m, 4Gi of further storage, 4Gi of memory"
    assert told in world.condition("UpToDate")[2]
    limit(world, {"pods": "40"}, {"pods": "4"})
    world.shards.copying = False
    world.settle(looks=80)
    known = {"tokens": 50_000, "seconds": 120, "storage": "4Gi", "memory": "4Gi"}
    assert world.status["rebuild"]["estimate"] == known, "two pods, 200 tokens a second each"
    world.shards.rows_per_second = 1.0
    world.settle(looks=80)
    assert world.status["rebuild"]["estimate"] == known | {"seconds": 250}, "500 documents at 2 a second"


def test_of_an_encoder_that_does_not_tell_its_speed_no_time_is_told(world: IndexWorld) -> None:
    world.shards.copying = False
    change_model(world)
    world.settle(looks=80)
    assert world.status["rebuild"]["estimate"] == {"tokens": 50_000, "storage": "4Gi", "memory": "4Gi"}


def test_vectors_that_are_copied_cost_no_tokens(world: IndexWorld) -> None:
    world.shards.copying = False
    world.edit(shards=3)
    world.settle(looks=80)
    assert world.status["rebuild"]["estimate"] == {"storage": "6Gi", "memory": "6Gi"}


def test_what_encoders_counted_is_better_than_a_guess() -> None:
    guess = Estimate(documents=500, tokens=50_000, seconds=None, storage="4Gi", memory="4Gi", gpus=0)
    build = BuildState(rows=100, tokens=5_033, rows_per_second=4.0)
    assert corrected(guess, [build], 500) == replace(guess, tokens=25_000, seconds=120)
    assert corrected(guess, [BuildState(rows=100)], 500) == guess, "nobody counted"
    fewer = build.model_copy(update={"reused": 300})
    assert corrected(guess, [fewer], 500) == replace(guess, tokens=10_000, seconds=50), "what is reused is not embedded"


@pytest.mark.parametrize(("seconds", "told"), [(119, "119s"), (120, "2m"), (7_100, "118m"), (7_200, "2h"), (200_000, "2d")])
def test_time_is_told_in_the_largest_unit_of_which_there_are_two(seconds: int, told: str) -> None:
    guess = Estimate(documents=1, tokens=1_500_000, seconds=seconds, storage="1Gi", memory="512Mi", gpus=2)
    assert str(guess) == (
        f"about 1 documents, 1.5M tokens to embed in about {told}, 1Gi of further storage, 512Mi of memory, "
        "2 GPUs or other devices"
    )


@pytest.mark.parametrize(("number", "told"), [(0, 0), (7, 7), (99, 99), (1_204_331, 1_200_000), (995, 1000), (125, 120)])
def test_numbers_are_round(number: int, told: int) -> None:
    assert round_off(number) == told


@pytest.mark.parametrize(
    ("quantity", "number", "told"), [("20Gi", 8, "160Gi"), ("1.5Gi", 2, "3Gi"), ("500m", 3, "1500m"), ("1e9", 2, "2000000000")]
)
def test_quantities_keep_their_unit(quantity: str, number: int, told: str) -> None:
    assert times(quantity, number) == told
    assert written(Decimal(number), like="7") == str(number)


@pytest.mark.parametrize(("number", "told"), [(0, "0Mi"), (5e8, "477Mi"), (2**30, "1Gi"), (3 * 2**29, "1536Mi")])
def test_memory_is_told_in_whole_units(number: float, told: str) -> None:
    pods = Pods(Decimal(number), 0)
    guess = estimate([], embeds=False, tokens_per_second=None, size="1Gi", volumes=1, pods=pods)
    assert guess is not None
    assert guess.memory == told
