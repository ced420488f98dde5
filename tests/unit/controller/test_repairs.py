"""Edits by others, refusals by the server, leftovers of the past: mended where possible, told where not."""

import copy
from contextlib import nullcontext
from typing import Any

import pytest

from embedding_operator.api.embeddingmodel import EmbeddingModelStatus
from embedding_operator.kube import KubeError
from embedding_operator.loop import Incomplete
from embedding_operator.resources import CONFIG_MAP, DEPLOYMENT, EMBEDDING_MODEL, HPA, POD, SERVICE, VECTOR_INDEX, Manifest
from fixtures.controller import World
from fixtures.kube import embedding_model

OTHER_MODEL = {"source": {"persistentVolumeClaim": {"claimName": "models", "path": "/other"}}}


def pod_spec(live: Manifest) -> Manifest:
    return dict(live["spec"]["template"]["spec"])


def test_a_selector_key_that_somebody_added_is_taken_out(world: World) -> None:
    world.settle()
    world.kube.edit(SERVICE, "t", "m-embed", lambda live: live["spec"]["selector"].update(track="canary"))
    assert "apply Service m-embed" in world.reconcile()


@pytest.mark.parametrize(
    "change",
    [
        lambda live: live["spec"].update(paused=True),
        lambda live: live["spec"]["template"]["spec"].update(nodeSelector={"disk": "none"}),
        lambda live: live["spec"]["template"]["spec"]["containers"][0]["env"].append(
            {"name": "EO_SELF_CHECK", "value": "Warn"}
        ),
    ],
)
def test_what_an_apply_would_leave_in_place_is_replaced(world: World, change: Any) -> None:
    world.edit(replicas=4)
    world.settle()
    name = world.names("Deployment")[0]
    before = world.kube.state()
    world.kube.edit(DEPLOYMENT, "t", name, change)
    assert f"put Deployment {name}" in world.reconcile()
    world.kube.roll_out()
    world.settle()
    assert world.kube.state() == before
    assert world.replicas() == {4}, "a replacement carries the replicas over"


def test_an_edit_that_makes_the_apply_invalid_is_replaced(world: World) -> None:
    world.settle()
    before = world.kube.state()
    world.kube.edit(SERVICE, "t", "m-embed", lambda live: live["spec"]["ports"][0].update(port=80))
    apply = world.kube.apply

    async def invalid(resource: Any, manifest: Manifest, uid: str) -> Manifest:
        if resource == SERVICE:
            raise KubeError(422, "Invalid", 'spec.ports[1].name: Duplicate value: "http"')
        return await apply(resource, manifest, uid)

    world.kube.apply = invalid  # type: ignore[method-assign]  # ports are merged by number on a real server
    world.settle()
    assert world.kube.state() == before


def test_a_field_that_the_server_drops_does_not_loop() -> None:
    """Behind a feature gate, say: the apply changes nothing, and that is then known."""
    behavior = {"scaleUp": {"tolerance": "0.1"}}
    world = World(autoscaling={"minReplicas": 1, "maxReplicas": 2, "behavior": behavior})
    apply, create = world.kube.apply, world.kube.create

    def dropped(resource: Any, manifest: Manifest) -> Manifest:
        kept = copy.deepcopy(manifest)
        if resource == HPA:
            kept["spec"]["behavior"]["scaleUp"].pop("tolerance")
        return kept

    async def apply_without(resource: Any, manifest: Manifest, uid: str) -> Manifest:
        return await apply(resource, dropped(resource, manifest), uid)

    async def create_without(resource: Any, manifest: Manifest) -> Manifest:
        return await create(resource, dropped(resource, manifest))

    world.kube.apply, world.kube.create = apply_without, create_without  # type: ignore[method-assign]
    world.settle(same_process=True)
    assert world.condition("UpToDate")[0] == "True"


def test_an_edited_record_does_not_change_what_serves(world: World) -> None:
    world.settle()
    old = world.status["revision"]
    world.edit(model=OTHER_MODEL)
    evil = '{"source":{"persistentVolumeClaim":{"claimName":"evil"}}}'
    world.kube.edit(CONFIG_MAP, "t", f"m-embed-{old}", lambda live: live["data"].update(model=evil))
    assert f"apply Deployment m-embed-{old}" not in world.reconcile()


def test_a_model_made_again_waits_for_the_old_children_to_go(world: World) -> None:
    world.settle()
    del world.kube.objects[EMBEDDING_MODEL, "t", "m"]  # garbage collection has not come to the children yet
    again = embedding_model()
    again["metadata"]["uid"] = "uid-second"
    world.kube.add(EMBEDDING_MODEL, again)
    world.reconcile()
    assert world.condition("Stalled")[0] == ""
    assert world.condition("Reconciling")[0] == "True"
    for resource, namespace, name in list(world.kube.objects):
        if resource != EMBEDDING_MODEL:
            world.kube.objects.pop((resource, namespace, name), None)
    world.settle()
    assert world.condition("Ready")[0] == "True"


def test_a_leftover_pod_does_not_stall_a_model_that_is_rolled_out() -> None:
    world = World(replicas=2)
    world.settle()
    left = copy.deepcopy(next(pod for (resource, _, _), pod in world.kube.objects.items() if resource == POD))
    left["metadata"] = {key: left["metadata"][key] for key in ("namespace", "labels", "ownerReferences", "creationTimestamp")}
    left["metadata"]["name"] = "m-embed-left"
    killed = {"exitCode": 137, "reason": "OOMKilled"}
    container = {"name": "embed", "state": {"terminated": {"exitCode": 0}}, "lastState": {"terminated": killed}}
    left["status"] = {"phase": "Failed", "reason": "Evicted", "containerStatuses": [container]}
    world.kube.add(POD, left)
    world.reconcile()
    assert world.condition("UpToDate")[0] == "True"
    assert world.condition("Stalled")[0] == ""


@pytest.mark.parametrize("code", [400, 500])
def test_what_the_server_refuses_is_told_and_the_rest_is_made(code: int) -> None:
    world = World()
    create = world.kube.create

    async def refuse(resource: Any, manifest: Manifest) -> Manifest:
        if resource == DEPLOYMENT:
            raise KubeError(code, "", "nodeAffinity.requierd: field not declared in schema")
        return await create(resource, manifest)

    world.kube.create = refuse  # type: ignore[method-assign]
    with pytest.raises(Incomplete, match="not declared") if code == 500 else nullcontext():  # it may pass: back off
        world.reconcile()
    assert "not declared" in world.condition("UpToDate")[2]
    assert world.names("PodDisruptionBudget")


def test_many_indexes_fit_into_the_status(world: World) -> None:
    world.settle()
    for number in range(70):
        name = {"name": f"d{number}", "namespace": "t"}
        world.kube.add(VECTOR_INDEX, {"metadata": name, "spec": {"modelRef": {"name": "m"}}})
    world.reconcile()
    status = EmbeddingModelStatus.model_validate(world.status)
    assert status.revisions[0].used_by[-1] == "and 7 more"


def test_a_spec_that_cannot_be_read_leaves_the_rest_of_the_status(world: World) -> None:
    world.settle()
    before = world.status
    world.edit(runtime={"engine": "OfTheNextVersion"})
    world.reconcile()
    assert world.condition("Stalled")[:2] == ("True", "InvalidSpec")
    assert world.condition("Ready")[0] == "True"
    assert {key: value for key, value in world.status.items() if key != "conditions"} == {
        key: value for key, value in before.items() if key != "conditions"
    }
    assert world.reconcile() == []
