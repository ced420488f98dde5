"""A VectorIndex from nothing to serving, what it waits for, and that every loss but that of documents heals."""

import asyncio
import copy
import random
from typing import Any

import pytest

from embedding_operator.api import VectorIndexStatus
from embedding_operator.dataplane import PodError
from embedding_operator.kube import KubeError
from embedding_operator.loop import Incomplete
from embedding_operator.resources import (
    CONFIG_MAP,
    EMBEDDING_MODEL,
    EVENT,
    HPA,
    NETWORK_POLICY,
    PDB,
    POD,
    PVC,
    SERVICE,
    STATEFUL_SET,
    VECTOR_INDEX,
    Manifest,
)
from embedding_serving.contract.admin import Mode
from embedding_serving.contract.route import Phase
from fixtures.controller import IndexWorld
from fixtures.kube import ProcessDied, vector_index

NOT_CHILDREN = ("EmbeddingModel", "VectorIndex", "Pod", "PersistentVolumeClaim", "ConfigMap")


@pytest.fixture
def world() -> IndexWorld:
    return IndexWorld()


def settled_states(world: IndexWorld) -> Manifest:
    """The world without epochs: how often the route was opened is history."""
    state = world.kube.state()
    state.pop("ConfigMap/docs-route")
    state["VectorIndex/docs"].pop("status")
    return state


def test_an_index_becomes_shards_a_route_and_what_protects_them() -> None:
    world = IndexWorld(shards=2, replicas=2)
    world.settle()
    shards = ["docs-g1-s0", "docs-g1-s1"]
    assert world.names("StatefulSet") == world.names("Service") == world.names("PodDisruptionBudget") == shards
    assert world.names("ServiceAccount") == world.names("NetworkPolicy") == ["docs-shards"]
    assert world.names("HorizontalPodAutoscaler") == []
    assert world.names("Pod") == [f"{shard}-{number}" for shard in shards for number in (0, 1)]
    assert [world.condition(kind)[:2] for kind in ("Ready", "Writable", "UpToDate")] == [
        ("True", "Serving"),
        ("True", "Writable"),
        ("True", "UpToDate"),
    ]
    assert world.condition("Reconciling") == world.condition("Stalled") == ("", "", "")
    assert world.condition("RollbackAvailable")[0] == "False"
    assert "progress" not in world.status
    VectorIndexStatus.model_validate(world.status)


def test_the_route_pins_the_model_and_says_who_takes_writes() -> None:
    world = IndexWorld(shards=2)
    world.settle()
    route, active = world.route, world.route.active
    assert (route.phase, route.epoch, route.writer, route.next_generation, route.weights) == (Phase.STABLE, 1, 1, 2, {1: 100})
    assert active.hosts == ("docs-g1-s0.t.svc", "docs-g1-s1.t.svc")
    assert active.encoder == "http://m-embed-1a2b3c4d.t.svc:8080"
    assert (active.model, active.revision, active.fingerprint, active.dimensions) == ("m", "1a2b3c4d", "fp-1", 384)
    assert active.histories == tuple(world.shards.volumes[f"docs-g1-s{number}-0"].history for number in (0, 1))
    live = world.kube.objects[CONFIG_MAP, "t", "docs-route"]["metadata"]
    assert not live.get("ownerReferences"), "it outlives the index"
    assert live["labels"]["embedding-operator.io/uses-m"] == "true"
    assert world.status["active"] | {"since": ""} == {
        "generation": 1,
        "epoch": 1,
        "model": "m",
        "revision": "1a2b3c4d",
        "fingerprint": "fp-1",
        "shards": 2,
        "since": "",
    }


def test_the_first_route_is_on_record_before_anything_is_made_for_it(world: IndexWorld) -> None:
    written = world.reconcile()
    assert written[0] == "post ConfigMap docs-route"
    first = world.route
    assert (first.epoch, first.phase, first.active.histories) == (1, Phase.REOPENING, ())


def test_shards_are_told_to_open_only_when_their_histories_are_on_record(world: IndexWorld) -> None:
    on_record: list[tuple[str, ...]] = []
    command = world.shards.command

    def noting(pod: Manifest, message: Any) -> Any:
        on_record.append(world.route.active.histories)
        return command(pod, message)

    world.shards.command = noting  # type: ignore[method-assign]  # listens
    world.settle()
    assert on_record == [(world.shards.volumes["docs-g1-s0-0"].history,)]


def test_an_unchanged_world_is_not_written_to(world: IndexWorld) -> None:
    world.settle()
    told = len(world.shards.told)
    assert world.reconcile() == []
    assert len(world.shards.told) == told


def test_numbers_reach_the_status_and_not_at_every_look(world: IndexWorld) -> None:
    world.settle()
    world.shards.write("docs-g1-s0-0", 7)
    process = world.process()
    assert world.reconcile(process) == ["status VectorIndex docs"]
    assert (world.status["documents"], world.status["bytes"], world.status["recall"]) == (7, 7_000, "0.990")
    world.shards.write("docs-g1-s0-0", 1)
    assert world.reconcile(process) == [], "not at once again"
    world.shards.silent.add("docs-g1-s0-0")
    world.reconcile(process)
    assert world.status["documents"] == 7, "what was known last stands"
    assert world.condition("Writable")[:2] == ("False", "WriterDown")


def test_a_silent_writer_is_told_and_its_followers_keep_the_index_readable() -> None:
    world = IndexWorld(replicas=2)
    world.settle()
    world.shards.silent.add("docs-g1-s0-0")
    pod = world.kube.objects[POD, "t", "docs-g1-s0-0"]
    pod["status"]["conditions"][0]["status"] = "False"
    world.reconcile()
    assert world.condition("Ready")[0] == "True"
    status, reason, message = world.condition("Writable")
    assert (status, reason) == ("False", "WriterDown")
    assert "docs-g1-s0-0" in message
    assert "kubectl" in message


# what the first generation waits for


def test_it_waits_for_a_model_that_does_not_exist() -> None:
    world = IndexWorld(model=False)
    world.settle()
    assert world.names("StatefulSet") == world.names("ConfigMap") == []
    assert world.condition("Ready")[:2] == ("False", "ModelNotReady")
    assert "EmbeddingModel m does not exist" in world.condition("Ready")[2]
    assert world.condition("UpToDate")[:2] == ("False", "WaitingForModel")
    assert world.condition("Stalled")[0] == ""
    world.serve_model()
    world.settle()
    assert world.condition("Ready")[0] == "True"


def test_it_waits_for_a_model_that_has_not_told_its_fingerprint(world: IndexWorld) -> None:
    world.kube.edit(EMBEDDING_MODEL, "t", "m", lambda live: live["status"].pop("fingerprint"))
    world.settle()
    assert world.names("StatefulSet") == []
    assert world.condition("Ready")[1] == "ModelNotReady"
    assert "kubectl describe em m" in world.condition("Ready")[2]


def test_a_re_ranker_is_no_encoder() -> None:
    world = IndexWorld(model=False)
    world.serve_model(task="Rerank")
    world.settle()
    assert world.names("StatefulSet") == []
    assert world.condition("Stalled")[:2] == ("True", "ModelNotReady")
    assert "re-ranker" in world.condition("Stalled")[2]


def test_vectors_of_clients_need_no_model() -> None:
    world = IndexWorld(model=False, modelRef=None, dimensions=384, distance="Dot")
    fingerprint = "client-384-dot"
    world.settle()
    assert (world.route.active.fingerprint, world.route.active.encoder) == (fingerprint, None)
    assert world.condition("Ready")[0] == world.condition("UpToDate")[0] == "True"
    env = world.kube.objects[STATEFUL_SET, "t", "docs-g1-s0"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {"name": "EO_TEXT_REQUIRED", "value": "false"} in env


def test_the_index_is_not_ready_while_the_encoder_of_its_revision_is_down(world: IndexWorld) -> None:
    world.settle()
    world.serve_model(ready=0)
    world.reconcile()
    assert world.condition("Ready")[:2] == ("False", "ModelNotReady")
    assert world.condition("Writable")[0] == "True"


# changes of the spec


def test_another_revision_of_the_same_space_is_followed_without_a_rebuild(world: IndexWorld) -> None:
    world.settle()
    before = world.route
    world.serve_model("9e8d7c6b", "fp-1")
    world.settle()
    assert world.route.active.encoder == "http://m-embed-9e8d7c6b.t.svc:8080"
    assert (world.route.epoch, world.route.seq) == (before.epoch, before.seq + 1)
    assert world.condition("UpToDate")[0] == "True"


def test_replicas_go_through_the_scale_subresource() -> None:
    world = IndexWorld(replicas=3)
    world.settle()
    assert len(world.names("Pod")) == 3
    world.edit(replicas=2)
    assert "scale StatefulSet docs-g1-s0 to 2" in world.reconcile()
    world.roll_out()
    world.settle()
    assert world.names("PersistentVolumeClaim") == ["data-docs-g1-s0-0", "data-docs-g1-s0-1"]
    assert world.shards.told[-1].startswith("Release docs-g1-s0-0")
    assert "docs-g1-s0-2" not in world.shards.volumes["docs-g1-s0-0"].leases


def test_no_copy_goes_while_a_shard_is_not_open() -> None:
    world = IndexWorld(replicas=2)
    world.settle()
    world.shards.silent.add("docs-g1-s0-0")
    world.edit(replicas=1)
    assert not [write for write in world.reconcile() if write.startswith("scale")]
    world.shards.silent.clear()
    world.settle()
    assert len(world.names("Pod")) == 1


def test_autoscaling_is_one_autoscaler_a_shard_and_leaves_it_its_replicas() -> None:
    world = IndexWorld(shards=2, autoscaling={"minReplicas": 2, "maxReplicas": 4})
    world.settle()
    assert world.names("HorizontalPodAutoscaler") == ["docs-g1-s0", "docs-g1-s1"]
    autoscaler = world.kube.objects[HPA, "t", "docs-g1-s1"]["spec"]
    assert autoscaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "docs-g1-s1"}
    assert len(world.names("Pod")) == 4
    world.kube.edit(STATEFUL_SET, "t", "docs-g1-s1", lambda live: live["spec"].update(replicas=4))
    world.roll_out()
    world.settle()
    assert world.kube.objects[STATEFUL_SET, "t", "docs-g1-s1"]["spec"]["replicas"] == 4


def test_a_metric_that_shards_do_not_measure_is_refused() -> None:
    world = IndexWorld(autoscaling={"maxReplicas": 4, "metrics": [{"type": "QueuedTokens", "target": "70"}]})
    world.settle()
    assert world.condition("Stalled")[:2] == ("True", "UnsupportedMetric")


def test_an_index_type_that_shards_do_not_have_is_refused_before_a_pod_fails_on_it() -> None:
    world = IndexWorld(index={"type": "ScaNN"})
    world.settle()
    assert world.condition("Stalled")[:2] == ("True", "UnsupportedIndexType")


def test_settings_of_the_shards_roll_out_in_place() -> None:
    world = IndexWorld(replicas=2)
    world.settle()
    template = copy.deepcopy(world.kube.objects[STATEFUL_SET, "t", "docs-g1-s0"]["spec"]["template"])
    changes: list[dict[str, Any]] = [
        {"index": {"type": "HNSW"}},
        {"fields": [{"name": "price", "type": "Number"}]},
        {"acknowledge": "Follower"},
        {"resources": {"limits": {"cpu": "2"}}},
    ]
    for change in changes:
        world.edit(**change)
        world.reconcile()
        assert world.condition("UpToDate")[1] == "RollingOut", change
        changed = world.kube.objects[STATEFUL_SET, "t", "docs-g1-s0"]["spec"]["template"]
        assert changed != template
        template = copy.deepcopy(changed)
        world.roll_out()
        world.settle()
        assert world.condition("UpToDate")[0] == "True"
    assert world.route.epoch == 1


def test_acknowledgement_by_a_follower_needs_one() -> None:
    world = IndexWorld(replicas=2, acknowledge="Follower")
    world.settle()
    assert world.condition("Writable")[0] == "True"
    world.shards.silent.add("docs-g1-s0-1")
    world.reconcile()
    assert world.condition("Writable")[:2] == ("False", "WriterDown")
    assert "acknowledge" in world.condition("Writable")[2]


def test_volumes_grow_where_they_are_and_the_stateful_set_stays_as_it_was() -> None:
    world = IndexWorld(replicas=2)
    world.settle()
    before = world.kube.objects[STATEFUL_SET, "t", "docs-g1-s0"]["spec"]["volumeClaimTemplates"]
    world.edit(storage={"size": "2Gi"})
    assert [write for write in world.reconcile() if "Persistent" in write] == [
        "apply PersistentVolumeClaim data-docs-g1-s0-0",
        "apply PersistentVolumeClaim data-docs-g1-s0-1",
    ]
    world.settle()
    sizes = {
        live["spec"]["resources"]["requests"]["storage"] for (kind, _, _), live in world.kube.objects.items() if kind == PVC
    }
    assert sizes == {"2Gi"}
    assert world.kube.objects[STATEFUL_SET, "t", "docs-g1-s0"]["spec"]["volumeClaimTemplates"] == before
    world.edit(replicas=3)
    world.settle()
    assert world.kube.objects[PVC, "t", "data-docs-g1-s0-2"]["spec"]["resources"]["requests"]["storage"] == "2Gi"


def test_a_volume_that_cannot_grow_is_told(world: IndexWorld) -> None:
    world.settle()
    apply = world.kube.apply

    async def refuse(resource: Any, manifest: Manifest, uid: str) -> Manifest:
        if resource == PVC:
            raise KubeError(403, "Forbidden", "the storageclass that provisions the pvc must support resize")
        return await apply(resource, manifest, uid)

    world.kube.apply = refuse  # type: ignore[method-assign]  # the fake refuses as an admission plugin would
    world.edit(storage={"size": "2Gi"})
    world.reconcile()
    assert "must support resize" in world.condition("UpToDate")[2]
    assert world.condition("Writable")[0] == "True"


# losses


@pytest.mark.parametrize("options", [{}, {"shards": 2, "replicas": 2, "autoscaling": {"minReplicas": 2, "maxReplicas": 3}}])
def test_every_child_that_is_deleted_comes_back(options: dict[str, Any]) -> None:
    world = IndexWorld(**options)
    world.settle()
    before = settled_states(world)
    documents = {name: volume.history for name, volume in world.shards.volumes.items()}
    children = [key for key in world.kube.objects if key[0].kind not in NOT_CHILDREN]
    assert children
    for resource, namespace, name in children:
        world.kube.remove(resource, namespace, name)
        world.settle()
        assert settled_states(world) == before, f"after the loss of {resource.kind} {name}"
    assert {name: volume.history for name, volume in world.shards.volumes.items()} == documents


@pytest.mark.parametrize(
    ("resource", "name", "change"),
    [
        (STATEFUL_SET, "docs-g1-s0", lambda d: d["spec"]["template"]["spec"]["containers"][0].update(image="evil")),
        (STATEFUL_SET, "docs-g1-s0", lambda d: d["spec"].update(replicas=9)),
        (STATEFUL_SET, "docs-g1-s0", lambda d: d["spec"]["template"]["spec"].update(nodeSelector={"disk": "none"})),
        (SERVICE, "docs-g1-s0", lambda d: d["spec"].update(publishNotReadyAddresses=False)),
        (NETWORK_POLICY, "docs-shards", lambda d: d["spec"].update(ingress=[])),
        (PDB, "docs-g1-s0", lambda d: d["spec"].update(maxUnavailable=0)),
        (STATEFUL_SET, "docs-g1-s0", lambda d: d["metadata"].update(labels={})),
    ],
)
def test_an_edited_child_heals(world: IndexWorld, resource: Any, name: str, change: Any) -> None:
    world.settle()
    before = settled_states(world)
    world.kube.edit(resource, "t", name, change)
    world.settle()
    assert settled_states(world) == before


def test_a_route_that_was_deleted_is_made_again_above_every_epoch(world: IndexWorld) -> None:
    world.settle()
    world.shards.write("docs-g1-s0-0", 5)
    before = world.route
    world.kube.remove(CONFIG_MAP, "t", "docs-route")
    world.serve_model("9e8d7c6b", "fp-2")
    world.shards.copying = False
    world.settle()
    assert world.route.epoch > before.epoch
    standing, held = world.route.active, before.active
    assert standing.histories == held.histories
    assert standing.fingerprint == held.fingerprint, "the generation that stands, not what the model is now"
    assert world.shards.volumes["docs-g1-s0-0"].rows == 5
    assert world.condition("Writable")[0] == "True"


def test_an_index_without_anything_but_its_volumes_is_adopted(world: IndexWorld) -> None:
    world.settle()
    world.shards.write("docs-g1-s0-0", 5)
    world.kube.remove(VECTOR_INDEX, "t", "docs")
    world.kube.remove(CONFIG_MAP, "t", "docs-route")
    assert world.names("PersistentVolumeClaim") == ["data-docs-g1-s0-0"]
    world.kube.add(VECTOR_INDEX, vector_index() | {"metadata": {"name": "docs", "namespace": "t", "uid": "another"}})
    world.settle()
    assert world.route.active.fingerprint == "fp-1"
    assert world.route.active.encoder, "the model still makes the same vectors"
    assert world.status["documents"] == 5
    assert world.condition("Writable")[0] == "True"


def test_an_index_that_is_made_again_adopts_route_and_data() -> None:
    world = IndexWorld(shards=2)
    world.settle()
    world.shards.write("docs-g1-s1-0", 5)
    before = world.route
    world.kube.remove(VECTOR_INDEX, "t", "docs")
    assert world.names("StatefulSet") == []
    for key in [key for key in world.kube.objects if key[0] == POD]:
        del world.kube.objects[key]
    again = vector_index(shards=2)
    again["metadata"]["uid"] = "another"
    world.kube.add(VECTOR_INDEX, again)
    world.settle()
    assert world.route == before
    assert world.status["documents"] == 5
    assert world.condition("Ready")[0] == world.condition("Writable")[0] == "True"
    assert world.condition("UpToDate")[0] == "True"


def test_with_delete_everything_goes_with_the_index() -> None:
    world = IndexWorld(replicas=2, storage={"size": "1Gi", "reclaimPolicy": "Delete"})
    world.settle()
    assert world.reconcile() == []
    world.kube.remove(VECTOR_INDEX, "t", "docs")
    assert world.names("PersistentVolumeClaim") == world.names("ConfigMap") == []


def test_the_policy_may_change_in_both_directions(world: IndexWorld) -> None:
    world.settle()
    for policy, owners in (("Delete", 1), ("Retain", 0)):
        world.edit(storage={"size": "1Gi", "reclaimPolicy": policy})
        world.settle()
        for kind in (CONFIG_MAP, PVC):
            (live,) = [live for (resource, _, _), live in world.kube.objects.items() if resource == kind]
            assert len(live["metadata"].get("ownerReferences") or []) == owners, (policy, kind)
            assert not any(owner.get("controller") for owner in live["metadata"].get("ownerReferences") or [])


def test_with_delete_the_volume_of_a_copy_that_is_scaled_away_goes_and_never_a_writers() -> None:
    world = IndexWorld(replicas=2, storage={"size": "1Gi", "reclaimPolicy": "Delete"})
    world.settle()
    world.edit(replicas=1)
    world.settle()
    assert world.names("PersistentVolumeClaim") == ["data-docs-g1-s0-0"]


def test_a_new_index_waits_for_the_volumes_of_a_deleted_one_to_go() -> None:
    world = IndexWorld(storage={"size": "1Gi", "reclaimPolicy": "Delete"})
    world.settle()
    del world.kube.objects[VECTOR_INDEX, "t", "docs"]  # garbage collection has not come to the rest yet
    again = vector_index()
    again["metadata"]["uid"] = "another"
    world.kube.add(VECTOR_INDEX, again)
    world.reconcile()
    assert world.condition("Ready")[:2] == ("False", "VolumePending")
    assert world.condition("Reconciling")[0] == "True"
    world.shards.volumes.clear()
    for key in [key for key in world.kube.objects if key[0].kind not in ("VectorIndex", "EmbeddingModel")]:
        world.kube.objects.pop(key)
    world.settle()
    assert world.condition("Writable")[0] == "True"


def test_a_lost_status_is_computed_again(world: IndexWorld) -> None:
    world.settle()
    before = world.status
    world.kube.objects[VECTOR_INDEX, "t", "docs"].pop("status")
    world.settle()

    def timeless(status: Manifest) -> Manifest:
        return status | {"conditions": [{**c, "lastTransitionTime": ""} for c in status["conditions"]]}

    assert timeless(world.status) == timeless(before)


# others


@pytest.mark.parametrize(
    ("resource", "name"), [(STATEFUL_SET, "docs-g1-s0"), (SERVICE, "docs-g1-s0"), (NETWORK_POLICY, "docs-shards")]
)
def test_a_strangers_object_is_left_alone_and_told(world: IndexWorld, resource: Any, name: str) -> None:
    theirs = {"metadata": {"name": name, "namespace": "t"}, "spec": {"theirs": True}}
    world.kube.add(resource, theirs)
    world.reconcile()
    world.roll_out()
    world.reconcile()
    assert world.kube.objects[resource, "t", name]["spec"]["theirs"] is True
    assert world.condition("Stalled")[:2] == ("True", "NameConflict")
    assert name in world.condition("Stalled")[2]


def test_a_strangers_config_map_is_no_route(world: IndexWorld) -> None:
    theirs = {"metadata": {"name": "docs-route", "namespace": "t"}, "data": {"theirs": "true"}}
    world.kube.add(CONFIG_MAP, theirs)
    world.settle()
    assert world.kube.objects[CONFIG_MAP, "t", "docs-route"]["data"] == {"theirs": "true"}
    assert world.condition("Stalled")[:2] == ("True", "NameConflict")
    assert world.names("StatefulSet") == []


def test_a_route_that_cannot_be_read_stops_everything_and_says_so(world: IndexWorld) -> None:
    world.settle()
    world.kube.edit(CONFIG_MAP, "t", "docs-route", lambda live: live["data"].update({"route.json": "{"}))
    writes = [write for write in world.reconcile() if not write.startswith(("status", "event"))]
    assert writes == []
    assert world.condition("Stalled")[:2] == ("True", "RouteUnavailable")


def test_a_paused_index_is_not_touched(world: IndexWorld) -> None:
    world.settle()
    world.annotate(paused="true")
    world.kube.remove(SERVICE, "t", "docs-g1-s0")
    world.reconcile()
    assert world.names("Service") == []
    assert world.condition("UpToDate")[:2] == ("Unknown", "Paused")
    world.annotate(paused=None)
    world.settle()
    assert world.names("Service") == ["docs-g1-s0"]


def test_a_volume_that_is_not_there_is_told_with_what_its_events_say(world: IndexWorld) -> None:
    world.reconcile()
    world.roll_out(ready=False)
    claim = world.kube.objects[PVC, "t", "data-docs-g1-s0-0"]
    claim["status"] = {"phase": "Pending"}
    world.shards.silent.add("docs-g1-s0-0")
    said = {"kind": "PersistentVolumeClaim", "name": "data-docs-g1-s0-0"}
    meta = {"name": "e1", "namespace": "t", "creationTimestamp": "2026-01-01T00:00:00Z"}
    world.kube.add(EVENT, {"metadata": meta, "regarding": said, "reason": "ProvisioningFailed", "note": "no such class"})
    world.reconcile()
    status, reason, message = world.condition("Ready")
    assert (status, reason) == ("False", "VolumePending")
    assert "data-docs-g1-s0-0" in message
    assert "no such class" in message


def test_a_full_volume_and_a_damaged_database_are_told_with_a_remedy(world: IndexWorld) -> None:
    world.settle()
    volume = world.shards.volumes["docs-g1-s0-0"]
    volume.fault = "volume_full"
    world.reconcile()
    assert world.condition("Writable")[:2] == ("False", "VolumeFull")
    assert "spec.storage.size" in world.condition("Writable")[2]
    volume.fault, volume.message = "corrupt", "page 7 is damaged"
    world.reconcile()
    assert world.condition("Writable")[:2] == ("False", "StoreCorrupt")
    assert world.condition("Stalled")[1] == "StoreCorrupt"
    assert "restore" in world.condition("Stalled")[2]
    assert "page 7" in world.condition("Stalled")[2]


# the operator dies, or the server refuses, at every step


def sweep(world: IndexWorld, fault: str, at: int) -> bool:
    """Reconciles to the end with one fault at one write; answers whether that write came."""
    hit = False

    def strike(count: int, write: str) -> str | None:
        nonlocal hit
        if count == at and not write.startswith("event"):
            hit = True
            return fault
        return None

    world.kube.fault = strike
    for _ in range(40):
        try:
            written = world.reconcile()
        except (ProcessDied, KubeError, Incomplete, PodError):
            written = ["failed"]
        world.roll_out()
        if not written and world.quiet():
            break
    world.kube.fault = lambda *_: None
    world.settle()
    return hit


@pytest.mark.parametrize("fault", ["before", "after", "409", "500"])
def test_from_a_fault_at_any_write_the_same_end_is_reached(fault: str) -> None:
    calm = IndexWorld(shards=2, replicas=2)
    calm.settle()
    wanted = settled_states(calm)
    at = 0
    while True:
        world = IndexWorld(shards=2, replicas=2)
        if not sweep(world, fault, at):
            break
        assert settled_states(world) == wanted, f"{fault} at write {at}"
        assert world.condition("Writable")[0] == "True"
        assert world.route.phase is Phase.STABLE
        at += 1
    assert at >= 12


def test_a_command_that_fails_is_tried_again(world: IndexWorld) -> None:
    command, failures = world.shards.command, [PodError("docs-g1-s0-0", "", "no answer")]

    def failing(pod: Manifest, message: Any) -> Any:
        if failures:
            raise failures.pop()
        return command(pod, message)

    world.shards.command = failing  # type: ignore[method-assign]  # a pod that is away for a moment
    world.reconcile()
    world.roll_out()
    world.reconcile()
    with pytest.raises(Incomplete, match="no answer"):
        world.reconcile()
    world.settle()
    assert world.condition("Writable")[0] == "True"


def test_two_operators_that_look_at_the_same_time_make_one_index() -> None:
    """Whatever the order of their looks, one writes and the other looks again."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    world = IndexWorld(shards=2)
    processes = [world.process(), world.process()]
    for _ in range(40):
        try:
            world.reconcile(chance.choice(processes))
        except KubeError:
            continue
        if chance.random() < 0.5:
            world.roll_out()
    world.roll_out()
    world.settle()
    assert world.condition("Writable")[0] == "True", f"seed {seed}"
    assert {volume.mode for volume in world.shards.volumes.values()} == {Mode.OPEN}


@pytest.mark.parametrize("annotations", [{}, {"paused": "true"}])
def test_what_waits_for_pods_or_for_people_is_not_looked_at_all_the_time(annotations: dict[str, str]) -> None:
    world = IndexWorld()
    world.annotate(**annotations)
    world.settle(ready=False)
    again = asyncio.run(world.process().reconcile(world.key))
    assert again is None or again >= 1
