"""spec.rebuild.encoders: spare pods of the model that embed for the generation that is built, and for nobody else."""

from typing import Any

import pytest

from embedding_operator.api import EmbeddingModel
from embedding_operator.build import names
from embedding_operator.build.embedding_model import revision_of
from embedding_operator.resources import DEPLOYMENT, NETWORK_POLICY, RESOURCE_QUOTA, SERVICE, Manifest
from embedding_serving.contract.route import Phase
from fixtures.controller import IndexWorld
from fixtures.kube import embedding_model

NAME = "docs-g2-encoders"
SPARE = f"http://{NAME}.t.svc:8080"
REBUILD = {"encoders": {"replicas": 3}, "rollbackWindowSeconds": 3_600}
CHANGED: dict[str, Any] = {"queryPrefix": "query: "}


def revision(**changed: Any) -> str:
    manifest = embedding_model()
    manifest["spec"]["model"] |= changed
    return revision_of(EmbeddingModel.model_validate(manifest).spec.model)


REVISION = revision(**CHANGED)
SERVING = f"http://m-embed-{REVISION}.t.svc:8080"


def indexed(**rebuild: Any) -> IndexWorld:
    world = IndexWorld(shards=2, rebuild=REBUILD | rebuild)
    world.settle()
    world.shards.write("docs-g1-s0-0", 30)
    return world


@pytest.fixture
def building() -> IndexWorld:
    """A generation that is built by another model, and gets no rows."""
    world = indexed()
    world.shards.copying = False
    change_model(world)
    world.settle(looks=80)
    assert world.route.phase is Phase.BUILDING
    return world


def change_model(world: IndexWorld, **known: Any) -> None:
    world.serve_model(revision=REVISION, fingerprint="fp-2", **known, **CHANGED)


def live(world: IndexWorld, resource: Any = DEPLOYMENT) -> Manifest:
    return world.kube.objects[resource, "t", NAME]


def embedded_by(world: IndexWorld) -> set[str | None]:
    """What the shards of the new generation were told to embed with."""
    volumes = [volume for name, volume in world.shards.volumes.items() if name.startswith("docs-g2-")]
    return {source.encoder for volume in volumes for source in volume.state.sources}


def test_they_embed_what_is_built_while_the_model_serves_as_before(building: IndexWorld) -> None:
    assert live(building)["spec"]["replicas"] == 3
    assert embedded_by(building) == {SPARE}
    assert building.route.generation(2).encoder == SERVING, "gateways ask the pods that serve"


def test_they_are_gone_when_the_new_generation_serves(building: IndexWorld) -> None:
    building.shards.copying = True
    building.settle(looks=80)
    assert (building.route.phase, building.route.writer) == (Phase.OBSERVING, 2)
    assert building.names(DEPLOYMENT.kind) == []
    assert NAME not in [*building.names(SERVICE.kind), *building.names(NETWORK_POLICY.kind)]


def test_they_go_with_a_generation_that_is_given_up(building: IndexWorld) -> None:
    building.annotate(abort="2")
    building.settle(looks=80)
    assert building.route.phase is Phase.STABLE
    assert building.names(DEPLOYMENT.kind) == []


def test_until_one_is_ready_and_when_none_is_any_more_the_serving_pods_embed(building: IndexWorld) -> None:
    building.kube.edit(DEPLOYMENT, "t", NAME, lambda found: found["status"].update(readyReplicas=0))
    building.reconcile()
    assert embedded_by(building) == {SERVING}
    building.reconcile()
    assert NAME in building.condition("UpToDate")[2]
    building.settle(looks=80)
    assert embedded_by(building) == {SPARE}


def test_their_number_changes_in_place(building: IndexWorld) -> None:
    building.edit(rebuild=REBUILD | {"encoders": {"replicas": 5}})
    building.settle()
    assert live(building)["spec"]["replicas"] == 5
    building.edit(rebuild={"rollbackWindowSeconds": 3_600})
    building.settle(looks=80)
    assert building.names(DEPLOYMENT.kind) == []
    assert embedded_by(building) == {SERVING}


def test_nobody_takes_them_for_pods_of_the_model_or_of_the_index(building: IndexWorld) -> None:
    labels = live(building)["spec"]["template"]["metadata"]["labels"]
    others = [names.model_selector("m"), names.revision_selector("m", REVISION), names.index_selector("docs")]
    assert not any(selector.items() <= labels.items() for selector in others)
    assert names.owner_label(building.kind) in labels
    assert live(building, SERVICE)["spec"]["selector"].items() <= labels.items()
    policy = live(building, NETWORK_POLICY)["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["ingress"][0]["from"] == [{"podSelector": {"matchLabels": names.index_selector("docs")}}]
    reached = building.kube.objects[NETWORK_POLICY, "t", "docs-shards"]["spec"]["egress"]
    peers = [peer["podSelector"]["matchLabels"] for rule in reached for peer in rule.get("to", []) if "podSelector" in peer]
    assert any(peer.get(names.COMPONENT) == names.SPARE and peer.items() <= labels.items() for peer in peers)


def test_they_run_where_and_with_what_the_spec_says() -> None:
    own = {"resources": {"limits": {"cpu": 2}}, "pod": {"nodeSelector": {"pool": "cheap"}}}
    world = indexed(encoders={"replicas": 1} | own)
    world.shards.copying = False
    change_model(world)
    world.settle(looks=80)
    pod = live(world)["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "cheap"}
    assert pod["containers"][0]["resources"]["limits"] == {"cpu": "2"}


def test_where_nothing_is_embedded_there_are_none() -> None:
    world = indexed()
    world.serve_model(revision=revision(), fingerprint="fp-1")
    world.settle()
    world.shards.copying = False
    world.edit(shards=3)
    world.settle(looks=80)
    assert world.route.phase is Phase.BUILDING
    assert world.names(DEPLOYMENT.kind) == []


def test_a_device_without_an_image_for_it_is_told_and_the_serving_pods_embed() -> None:
    world = indexed(encoders={"replicas": 1, "resources": {"limits": {"nvidia.com/gpu": 1}}})
    change_model(world)
    world.settle(looks=80)
    assert world.route.writer == 2
    world = indexed(encoders={"replicas": 1, "resources": {"limits": {"nvidia.com/gpu": 1}}})
    world.shards.copying = False
    change_model(world)
    world.settle(looks=80)
    assert world.condition("Stalled")[:2] == ("True", "UnsupportedModel")
    assert "spec.rebuild.encoders.resources" in world.condition("Stalled")[2]
    assert embedded_by(world) == {SERVING}


def test_the_cost_is_told_with_their_number_memory_and_devices() -> None:
    spare = {"replicas": 2, "resources": {"limits": {"nvidia.com/gpu": 1, "memory": "8Gi"}}}
    world = IndexWorld(shards=2, resources={"limits": {"memory": "1Gi"}}, rebuild=REBUILD | {"encoders": spare})
    world.settle()
    world.shards.write("docs-g1-s0-0", 30)
    world.shards.copying = False
    change_model(world, tokens_per_second=50)
    world.settle(looks=80)
    told = world.status["rebuild"]["estimate"]
    assert (told["gpus"], told["memory"]) == (2, "18Gi"), "two shards and two encoders"
    assert told["seconds"] == told["tokens"] // 100


def test_a_quota_must_have_room_for_them_too() -> None:
    world = indexed()
    status = {"hard": {"pods": "8"}, "used": {"pods": "4"}}
    world.kube.add(RESOURCE_QUOTA, {"metadata": {"name": "team", "namespace": "t"}, "spec": {}, "status": status})
    change_model(world)
    world.settle(looks=80)
    assert world.condition("UpToDate")[1] == "InsufficientResources"
    assert "needs 5 of pods" in world.condition("UpToDate")[2], "two shards and three encoders"
