"""What the controller does for an EmbeddingModel, on the in-memory API server."""

import random
from typing import Any

import pytest

from embedding_operator.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    EMBEDDING_MODEL,
    HPA,
    NETWORK_POLICY,
    PDB,
    POD,
    SERVICE,
    VECTOR_INDEX,
)
from fixtures.controller import World
from fixtures.kube import ProcessDied, route_map, vector_index

OTHER_MODEL = {"source": {"persistentVolumeClaim": {"claimName": "models", "path": "/other"}}}
AUTOSCALING = {"minReplicas": 3, "maxReplicas": 5}


def test_a_new_model_gets_its_children_and_becomes_ready(world: World) -> None:
    world.settle()
    (deployment,) = world.names("Deployment")
    revision = world.status["revision"]
    assert deployment == f"m-embed-{revision}"
    assert world.names("Service") == ["m-embed", deployment]
    assert world.names("ServiceAccount") == ["m-embed"]
    assert world.names("NetworkPolicy") == ["m-embed"]
    assert world.names("PodDisruptionBudget") == [deployment]
    assert world.condition("Ready")[:2] == ("True", "Serving")
    assert world.condition("UpToDate")[:2] == ("True", "UpToDate")
    assert world.condition("Reconciling") == world.condition("Stalled") == ("", "", "")
    assert (world.status["dimensions"], world.status["engine"]) == (384, "ONNXRuntime")
    assert world.status["revisions"][0]["tokensPerSecond"] == 5_000, "rounded: it is measured by every pod anew"
    assert world.status["fingerprint"] == f"fp-{revision}"
    assert "progress" not in world.status


def test_an_unchanged_world_is_not_written_to(world: World) -> None:
    world.settle()
    assert world.reconcile() == []


def test_every_child_that_is_deleted_comes_back(world: World) -> None:
    world.settle()
    before = world.kube.state()
    children = [key for key in world.kube.objects if key[0] not in (EMBEDDING_MODEL, POD)]
    assert len(children) == 7
    for resource, namespace, name in children:
        world.kube.remove(resource, namespace, name)
        world.settle()
        assert world.kube.state() == before, f"after the loss of {resource.kind} {name}"


@pytest.mark.parametrize(
    ("resource", "name", "change"),
    [
        (DEPLOYMENT, "m-embed-{}", lambda d: d["spec"]["template"]["spec"].update(automountServiceAccountToken=True)),
        (DEPLOYMENT, "m-embed-{}", lambda d: d["spec"]["template"]["spec"]["containers"][0].update(image="evil")),
        (DEPLOYMENT, "m-embed-{}", lambda d: d["spec"].update(replicas=9)),
        (SERVICE, "m-embed", lambda d: d["spec"]["selector"].update({"embedding-operator.io/revision": "00000000"})),
        (SERVICE, "m-embed-{}", lambda d: d["spec"].update(ports=[])),
        (NETWORK_POLICY, "m-embed", lambda d: d["spec"].update(ingress=[])),
        (PDB, "m-embed-{}", lambda d: d["spec"].update(maxUnavailable=0)),
        (PDB, "m-embed-{}", lambda d: d["metadata"].update(labels={})),
    ],
)
def test_an_edited_child_heals(world: World, resource: Any, name: str, change: Any) -> None:
    world.settle()
    before = world.kube.state()
    world.kube.edit(resource, "t", name.format(world.status["revision"]), change)
    assert world.kube.state() != before
    world.settle()
    assert world.kube.state() == before


def test_a_new_model_stands_beside_the_old_one_until_it_is_ready(world: World) -> None:
    world.settle()
    old = world.status["revision"]
    world.edit(model=OTHER_MODEL)
    world.reconcile()
    assert len(world.names("Deployment")) == 2
    assert world.kube.selected_revision("m") == old, "the stable Service waits"
    assert world.condition("Ready")[0] == "True"
    assert world.condition("UpToDate")[:2] == ("False", "RollingOut")
    assert world.condition("Reconciling")[0] == "True"
    world.settle()
    new = world.status["revision"]
    assert new != old
    assert world.kube.selected_revision("m") == new
    assert world.names("Deployment") == [f"m-embed-{new}"], "nothing uses the old one any more"
    assert world.names("ConfigMap") == [f"m-embed-{new}"]


def test_a_model_that_never_gets_ready_leaves_the_old_one_serving(world: World) -> None:
    world.settle()
    old = world.status["revision"]
    world.edit(model=OTHER_MODEL)
    world.reconcile()
    for (resource, _, name), live in world.kube.objects.items():
        if resource == DEPLOYMENT and not name.endswith(old):
            live["status"] = {
                "observedGeneration": 1,
                "replicas": 1,
                "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded", "message": "timed out"}],
            }
    world.reconcile()
    assert world.kube.selected_revision("m") == old
    assert world.condition("Ready")[0] == "True"
    assert world.condition("Stalled")[:2] == ("True", "ProgressDeadlineExceeded")
    assert world.condition("Reconciling")[0] == ""
    world.edit(model={"source": {"persistentVolumeClaim": {"claimName": "models", "path": "/minilm"}}})
    world.settle()
    assert world.names("Deployment") == [f"m-embed-{old}"], "the way back removes the failed one"


def test_a_revision_that_an_index_reads_from_stays(world: World) -> None:
    world.settle()
    old = world.status["revision"]
    world.kube.add(VECTOR_INDEX, vector_index())
    world.kube.add(CONFIG_MAP, route_map(old))
    world.edit(model=OTHER_MODEL)
    world.settle()
    new = world.status["revision"]
    assert world.names("Deployment") == sorted([f"m-embed-{old}", f"m-embed-{new}"])
    entry = next(revision for revision in world.status["revisions"] if revision["name"] == old)
    assert (entry["state"], entry["usedBy"]) == ("Retained", ["VectorIndex/docs"])
    world.kube.remove(DEPLOYMENT, "t", f"m-embed-{old}")
    world.settle()
    assert f"m-embed-{old}" in world.names("Deployment"), "a retained revision heals from its record"
    world.kube.edit(CONFIG_MAP, "t", "docs-route", lambda live: live.update(data=route_map(new)["data"]))
    world.settle()
    assert world.names("Deployment") == [f"m-embed-{new}"]


def test_a_change_that_moves_no_vector_rolls_in_place(world: World) -> None:
    world.settle()
    revision = world.status["revision"]
    world.edit(resources={"limits": {"cpu": "2"}})
    world.settle()
    assert world.names("Deployment") == [f"m-embed-{revision}"]
    world.edit(resources={})
    world.settle()
    pod = world.kube.objects[DEPLOYMENT, "t", f"m-embed-{revision}"]["spec"]["template"]["spec"]
    assert "limits" not in pod["containers"][0]["resources"], "a field that left the intent leaves the object"


def test_what_is_asked_for_is_not_called_up_to_date_before_it_is_done(world: World) -> None:
    world.settle()
    for change in ({"replicas": 2}, {"resources": {"limits": {"cpu": "2"}}}, {"weights": {"size": "2Gi"}}):
        world.edit(**change)
        world.reconcile()
        assert world.condition("UpToDate")[0] == "False", change
        assert world.condition("Ready")[0] == "True"
        world.kube.roll_out()
        world.settle()
        assert world.condition("UpToDate")[0] == "True"


def test_rotating_a_credential_is_no_new_revision() -> None:
    def hub(secret: str) -> dict[str, Any]:
        source = {"repo": "a/b", "revision": "0" * 40, "tokenSecretRef": {"name": secret}}
        return {"source": {"huggingFace": source}, "task": "Embed"}

    world = World(model=hub("one"))
    world.settle()
    before = world.status["revision"]
    world.edit(model=hub("two"))
    world.settle()
    assert world.status["revision"] == before
    pod = world.kube.objects[DEPLOYMENT, "t", f"m-embed-{before}"]["spec"]["template"]["spec"]
    secrets = [
        env["valueFrom"]["secretKeyRef"]["name"] for env in pod["initContainers"][0]["env"] if env["name"] == "EO_HUB_TOKEN"
    ]
    assert secrets == ["two"]


def test_the_recorded_fingerprint_is_given_to_later_pods(world: World) -> None:
    world.settle()
    revision = world.status["revision"]
    assert world.kube.objects[CONFIG_MAP, "t", f"m-embed-{revision}"]["data"]["fingerprint"] == f"fp-{revision}"
    world.data_plane.fingerprints[revision] = "another"
    world.settle()
    assert world.status["fingerprint"] == f"fp-{revision}", "what was learnt first stands"


def test_replicas_never_dip_when_autoscaling_goes_on_off_and_on() -> None:
    world = World(replicas=3)
    seen: list[int] = []

    def watch() -> None:
        world.settle()
        seen.extend(live["spec"]["replicas"] for (resource, _, _), live in world.kube.objects.items() if resource == DEPLOYMENT)

    watch()
    for autoscaling in (AUTOSCALING, None, AUTOSCALING):
        world.edit(autoscaling=autoscaling)
        if autoscaling is None:
            world.kube.edit(EMBEDDING_MODEL, "t", "m", lambda live: live["spec"].pop("autoscaling"))
        watch()
        assert bool(world.names("HorizontalPodAutoscaler")) == (autoscaling is not None)
    assert min(seen) == 3


def test_the_autoscaler_owns_replicas() -> None:
    world = World(autoscaling=AUTOSCALING)
    world.settle()
    name = world.names("Deployment")[0]
    world.kube.edit(DEPLOYMENT, "t", name, lambda live: live["spec"].update(replicas=5))
    world.settle()
    assert world.kube.objects[DEPLOYMENT, "t", name]["spec"]["replicas"] == 5


def test_a_new_revision_under_autoscaling_starts_as_large_as_the_old_one() -> None:
    world = World(autoscaling=AUTOSCALING)
    world.settle()
    old = world.names("Deployment")[0]
    world.kube.edit(DEPLOYMENT, "t", old, lambda live: live["spec"].update(replicas=5))
    world.kube.roll_out()
    world.edit(model=OTHER_MODEL)
    world.reconcile()
    replicas = {
        name: live["spec"]["replicas"] for (resource, _, name), live in world.kube.objects.items() if resource == DEPLOYMENT
    }
    assert set(replicas.values()) == {5}


def test_metrics_that_are_missing_show_in_status() -> None:
    world = World(autoscaling=AUTOSCALING)
    world.settle()
    name = world.names("Deployment")[0]
    failed = {"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric", "message": "no metrics API"}
    world.kube.edit(HPA, "t", name, lambda live: live.update(status={"conditions": [failed]}))
    world.reconcile()
    status, reason, message = world.condition("ScalingActive")
    assert (status, reason) == ("False", "MetricsUnavailable")
    assert "metrics-server" in message
    assert world.condition("Ready")[0] == "True"


@pytest.mark.parametrize("resource", [DEPLOYMENT, SERVICE, CONFIG_MAP])
def test_a_strangers_object_is_reported_and_not_touched(resource: Any) -> None:
    reference = World()
    reference.settle()
    name = next(key[2] for key in reference.kube.objects if key[0] == resource)
    world = World()
    world.kube.add(resource, {"metadata": {"name": name, "namespace": "t"}, "spec": {"theirs": True}})
    before = world.kube.state()[f"{resource.kind}/{name}"]
    world.reconcile()
    world.reconcile()
    assert world.kube.state()[f"{resource.kind}/{name}"] == before
    status, reason, message = world.condition("Stalled")
    assert (status, reason) == ("True", "NameConflict")
    assert name in message
    world.kube.remove(resource, "t", name)
    world.settle()
    assert world.condition("Ready")[0] == "True"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"runtime": {"engine": "Triton"}}, "Triton"),
        ({"runtime": {"engine": "Torch"}}, "torch image"),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, "torch image"),
        ({"model": {"source": {"openAI": {"model": "x", "secretRef": {"name": "s"}}}}}, "openAI"),
    ],
)
def test_a_spec_that_is_refused_leaves_what_serves_alone(world: World, spec: dict[str, Any], words: str) -> None:
    world.settle()
    before = {key: value for key, value in world.kube.state().items() if not key.startswith("EmbeddingModel")}
    world.edit(**spec)
    world.settle()
    assert {key: value for key, value in world.kube.state().items() if not key.startswith("EmbeddingModel")} == before
    assert world.condition("Ready")[0] == "True"
    status, reason, message = world.condition("Stalled")
    assert (status, reason) == ("True", "UnsupportedModel")
    assert words in message


def test_a_paused_model_is_not_touched(world: World) -> None:
    world.settle()
    world.kube.edit(
        EMBEDDING_MODEL, "t", "m", lambda live: live["metadata"].update(annotations={"embedding-operator.io/paused": "true"})
    )
    world.edit(replicas=5)
    world.kube.remove(SERVICE, "t", "m-embed")
    world.settle()
    assert "m-embed" not in world.names("Service")
    assert world.condition("UpToDate")[1] == "Paused"
    assert world.condition("Reconciling")[0] == ""


def test_no_replicas_means_stopped_and_says_so(world: World) -> None:
    world.edit(replicas=0)
    world.settle()
    assert world.condition("Ready")[:2] == ("False", "ScaledToZero")
    assert world.condition("UpToDate")[0] == "True"
    assert world.condition("Reconciling")[0] == ""


def test_a_quota_that_refuses_a_child_shows_in_status(world: World) -> None:
    from embedding_operator.kube import KubeError

    create = world.kube.create

    async def refuse(resource: Any, manifest: Any) -> Any:
        if resource == DEPLOYMENT:
            raise KubeError(403, "Forbidden", "exceeded quota: compute")
        return await create(resource, manifest)

    world.kube.create = refuse  # type: ignore[method-assign]  # the fake refuses as an admission plugin would
    world.reconcile()
    assert "exceeded quota: compute" in world.condition("UpToDate")[2]
    assert len(world.names("Service")) == 2, "the others are made all the same"


def _scenario(world: World) -> None:
    """Create, switch the model, scale, switch autoscaling on."""
    world.settle()
    world.edit(model=OTHER_MODEL)
    world.settle()
    world.edit(replicas=2, autoscaling=AUTOSCALING)
    world.settle()


@pytest.mark.parametrize("moment", ["before", "after", "409", "500"])
def test_a_process_that_dies_at_any_write_reaches_the_same_end(moment: str) -> None:
    clean = World()
    _scenario(clean)
    total = len(clean.kube.writes)
    assert total > 20
    for victim in range(total):
        world = World()
        world.kube.fault = lambda count, write, victim=victim: moment if count == victim else None  # type: ignore[misc]
        for _ in range(3):  # the scenario goes on where it broke off
            try:
                _scenario(world)
                break
            except (ProcessDied, Exception) as died:
                if isinstance(died, AssertionError):
                    raise
        assert world.kube.state() == clean.kube.state(), f"{moment} write {victim}: {clean.kube.writes[victim]}"


def test_random_damage_heals() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    world = World(autoscaling=AUTOSCALING)
    world.settle()
    before = world.kube.state()
    for _ in range(60):
        children = [key for key in world.kube.objects if key[0] not in (EMBEDDING_MODEL, POD)]
        for resource, namespace, name in chance.sample(children, k=min(len(children), chance.randint(1, 4))):
            if (resource, namespace, name) in world.kube.objects:
                world.kube.remove(resource, namespace, name)
        if chance.random() < 0.3:
            world.kube.edit(EMBEDDING_MODEL, "t", "m", lambda live: live.pop("status", None))
        if chance.random() < 0.5:
            world.kube.roll_out(ready=chance.random() < 0.5)
        world.settle()
        for (resource, _, _), live in world.kube.objects.items():
            if resource == DEPLOYMENT:
                live["spec"]["replicas"] = 3
        world.settle()
        assert world.kube.state() == before, f"seed {seed}"
