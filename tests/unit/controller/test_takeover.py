"""Which revision takes requests, and when: never one that is too small, and never another vector space by accident."""

from typing import Any

import pytest

from embedding_operator.kube import KubeError
from embedding_operator.resources import CONFIG_MAP, DEPLOYMENT, EMBEDDING_MODEL, POD, SERVICE, VECTOR_INDEX, Manifest
from fixtures.controller import World
from fixtures.kube import ProcessDied, route_map, vector_index

OTHER_MODEL = {"source": {"persistentVolumeClaim": {"claimName": "models", "path": "/other"}}}
AUTOSCALING = {"minReplicas": 3, "maxReplicas": 20}


def deployment(world: World, revision: str) -> Manifest:
    return world.kube.objects[DEPLOYMENT, "t", f"m-embed-{revision}"]


def pause(world: World) -> None:
    paused = {"embedding-operator.io/paused": "true"}
    world.kube.edit(EMBEDDING_MODEL, "t", "m", lambda live: live["metadata"].update(annotations=paused))


def test_a_leader_that_dies_before_it_scales_leaves_the_old_revision_serving() -> None:
    world = World(replicas=10)
    world.settle()
    old = world.status["revision"]
    world.edit(model=OTHER_MODEL)
    world.kube.fault = lambda _, write: "before" if write.startswith("scale") else None
    with pytest.raises(ProcessDied):
        world.reconcile()
    world.kube.fault = lambda *_: None
    world.kube.roll_out()
    world.reconcile()
    assert world.kube.selected_revision("m") == old
    world.kube.roll_out()
    world.settle()
    assert world.kube.selected_revision("m") != old
    assert world.replicas() == {10}


def test_a_scale_that_is_refused_leaves_the_old_revision_serving() -> None:
    world = World(replicas=10)
    world.settle()
    old = world.status["revision"]

    async def refuse(*_: Any) -> None:
        raise KubeError(403, "Forbidden", "a webhook denied the request")

    world.edit(model=OTHER_MODEL)
    world.kube.scale = refuse  # type: ignore[method-assign,assignment]  # the fake refuses as an admission plugin would
    for _ in range(4):
        world.reconcile()
        world.kube.roll_out()
    assert world.kube.selected_revision("m") == old
    assert f"m-embed-{old}" in world.names("Deployment")
    assert "a webhook denied" in world.condition("UpToDate")[2]


def test_a_moment_without_ready_pods_changes_nothing() -> None:
    """An older revision that an index still reads from is ready: its vectors are of another space."""
    world = World(autoscaling=AUTOSCALING)
    world.settle()
    world.kube.add(VECTOR_INDEX, vector_index())
    world.kube.add(CONFIG_MAP, route_map(world.status["revision"]))
    world.edit(model=OTHER_MODEL)
    world.settle()
    new = world.status["revision"]
    world.kube.edit(DEPLOYMENT, "t", f"m-embed-{new}", lambda live: live["spec"].update(replicas=12))
    world.settle()
    deployment(world, new)["status"].update(readyReplicas=0, availableReplicas=0)
    for (resource, _, name), pod in world.kube.objects.items():
        if resource == POD and new in name:
            pod["status"]["conditions"][0]["status"] = "False"
    written = [write for write in world.reconcile() if not write.startswith(("status", "event"))]
    assert written == []
    assert world.condition("Ready")[0] == "False"


def test_a_deployment_that_lost_its_label_keeps_its_replicas() -> None:
    world = World(autoscaling=AUTOSCALING)
    world.settle()
    name = world.names("Deployment")[0]
    world.kube.edit(DEPLOYMENT, "t", name, lambda live: live["spec"].update(replicas=10))
    world.settle()
    label = "embedding-operator.io/embeddingmodel"
    world.kube.edit(DEPLOYMENT, "t", name, lambda live: live["metadata"]["labels"].pop(label))
    world.settle()
    assert world.replicas() == {10}
    assert deployment(world, name[-8:])["metadata"]["labels"][label] == "m"


def test_ready_is_not_said_of_a_strangers_service() -> None:
    world = World()
    world.kube.add(SERVICE, {"metadata": {"name": "m-embed", "namespace": "t"}, "spec": {"selector": {"a": "b"}}})
    world.reconcile()
    world.kube.roll_out()
    world.reconcile()
    assert world.condition("Ready")[:2] == ("False", "NoReadyPods")
    assert "endpoint" not in world.status


def test_a_paused_model_without_its_service_is_not_ready(world: World) -> None:
    world.settle()
    pause(world)
    world.kube.remove(SERVICE, "t", "m-embed")
    world.settle()
    assert world.condition("Ready")[0] == "False"
    assert "m-embed does not exist" in world.condition("Ready")[2]


def test_a_model_paused_in_mid_rollout_names_what_really_serves(world: World) -> None:
    world.settle()
    old = world.status["revision"]
    world.edit(model=OTHER_MODEL)
    world.reconcile()
    pause(world)
    world.kube.roll_out()
    world.reconcile()
    assert world.status["revision"] == world.kube.selected_revision("m") == old


def test_revisions_that_never_had_vectors_go_while_an_index_has_not_said_what_it_reads(world: World) -> None:
    world.settle()
    world.kube.add(VECTOR_INDEX, vector_index("new"))
    for number in range(3):
        path = {"claimName": "models", "path": f"/typo{number}"}
        world.edit(model={"source": {"persistentVolumeClaim": path}})
        world.reconcile()
        world.reconcile()
    assert len(world.names("Deployment")) == 2
