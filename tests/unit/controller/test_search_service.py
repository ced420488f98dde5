"""A SearchService: gateways that read the newest route, ways to reach them, and what keeps them from answering."""

from typing import Any

import pytest

from embedding_operator.api import EmbeddingModel, SearchServiceStatus
from embedding_operator.build import embedding_model as build_model
from embedding_operator.kube import KubeError
from embedding_operator.loop import Incomplete
from embedding_operator.resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    EMBEDDING_MODEL,
    HPA,
    HTTP_ROUTE,
    INGRESS,
    NETWORK_POLICY,
    PDB,
    SERVICE,
    VECTOR_INDEX,
    Manifest,
)
from fixtures.controller import ServiceWorld, World
from fixtures.kube import ProcessDied, embedding_model

KEYS: dict[str, Any] = {"apiKeysSecretRef": {"name": "keys"}}
INGRESS_: dict[str, Any] = {"ingress": {"host": "search.example.com", "className": "nginx", "tlsSecretRef": {"name": "cert"}}}
ROUTE: dict[str, Any] = {
    "httpRoute": {"parentRefs": [{"name": "edge", "namespace": "edge"}], "hostnames": ["search.example.com"]}
}


@pytest.fixture
def world() -> ServiceWorld:
    return ServiceWorld()


def pod_spec(world: ServiceWorld) -> Manifest:
    return dict(world.kube.objects[DEPLOYMENT, "t", "docs-search"]["spec"]["template"]["spec"])


def own_state(world: ServiceWorld) -> Manifest:
    """Without the index, whose route carries a time."""
    return {
        name: live for name, live in world.kube.state().items() if "docs-search" in name or name.startswith("SearchService")
    }


def env(world: ServiceWorld) -> dict[str, str]:
    return {item["name"]: item.get("value", "") for item in pod_spec(world)["containers"][0]["env"]}


def add_reranker(world: ServiceWorld, revision: str = "5e5e5e5e", task: str = "Rerank") -> None:
    manifest = embedding_model("rr")
    manifest["spec"]["model"]["task"] = task
    manifest["status"] = {"revision": revision, "conditions": [{"type": "Ready", "status": "True", "message": ""}]}
    world.kube.objects.pop((EMBEDDING_MODEL, "t", "rr"), None)
    world.kube.add(EMBEDDING_MODEL, manifest)


def test_a_service_becomes_gateways_and_what_protects_them(world: ServiceWorld) -> None:
    world.settle()
    for kind in ("Deployment", "Service", "PodDisruptionBudget", "ServiceAccount", "NetworkPolicy"):
        assert "docs-search" in world.names(kind), kind
    assert world.replicas() == {2}
    assert world.condition("Ready")[:2] == ("True", "Serving")
    assert world.condition("UpToDate")[:2] == ("True", "UpToDate")
    assert world.condition("Reconciling") == world.condition("Stalled") == ("", "", "")
    assert world.status["endpoint"] == "http://docs-search.t.svc:8080"
    assert world.status["route"] == {"index": "docs", "generation": 1, "epoch": 1, "gatewaysOnEpoch": 2}
    assert world.status["selector"] == "app.kubernetes.io/component=gateway,app.kubernetes.io/instance=docs"
    SearchServiceStatus.model_validate(world.status)


def test_an_unchanged_world_is_not_written_to(world: ServiceWorld) -> None:
    world.settle()
    assert world.reconcile() == []


def test_every_child_that_is_deleted_comes_back() -> None:
    world = ServiceWorld(autoscaling={"maxReplicas": 3}, expose=INGRESS_, **KEYS)
    world.settle()
    before = world.kube.state()
    children = [key for key in world.kube.objects if key[2] == "docs-search"]
    assert len(children) == 7
    for resource, namespace, name in children:
        world.kube.remove(resource, namespace, name)
        world.settle()
        assert world.kube.state() == before, f"after the loss of {resource.kind}"


@pytest.mark.parametrize(
    ("resource", "change"),
    [
        (DEPLOYMENT, lambda d: d["spec"]["template"]["spec"]["containers"][0].update(image="evil")),
        (DEPLOYMENT, lambda d: d["spec"].update(replicas=9)),
        (SERVICE, lambda d: d["spec"].update(ports=[])),
        (NETWORK_POLICY, lambda d: d["spec"].update(egress=[])),
        (PDB, lambda d: d["spec"].update(maxUnavailable=0)),
    ],
)
def test_an_edited_child_heals(world: ServiceWorld, resource: Any, change: Any) -> None:
    world.settle()
    before = world.kube.state()
    world.kube.edit(resource, "t", "docs-search", change)
    world.settle()
    assert world.kube.state() == before


@pytest.mark.parametrize("resource", [DEPLOYMENT, SERVICE])
def test_a_strangers_object_is_left_alone_and_told(resource: Any) -> None:
    world = ServiceWorld()
    world.kube.add(resource, {"metadata": {"name": "docs-search", "namespace": "t"}, "spec": {"theirs": True}})
    world.reconcile()
    world.roll_out()
    world.reconcile()
    assert world.kube.objects[resource, "t", "docs-search"]["spec"]["theirs"] is True
    assert world.condition("Stalled")[:2] == ("True", "NameConflict")


@pytest.mark.parametrize("fault", ["before", "after", "409", "500"])
def test_from_a_fault_at_any_write_the_same_end_is_reached(fault: str) -> None:
    calm = ServiceWorld()
    calm.settle()
    at = len(ServiceWorld().kube.writes)
    for victim in range(at, at + 9):
        world = ServiceWorld()
        world.kube.fault = lambda count, _, victim=victim: fault if count == victim else None  # type: ignore[misc]
        for _ in range(6):
            try:
                world.reconcile()
            except (ProcessDied, KubeError, Incomplete):
                continue
            world.roll_out()
        world.kube.fault = lambda *_: None
        world.settle()
        assert own_state(world) == own_state(calm), f"{fault} at write {victim}"


# routes


def test_a_newer_route_is_given_to_every_gateway_at_once(world: ServiceWorld) -> None:
    world.settle()
    newer = world.route.model_copy(update={"seq": world.route.seq + 1, "epoch": 7})
    world.kube.edit(CONFIG_MAP, "t", "docs-route", lambda live: live["data"].update({"route.json": newer.model_dump_json()}))
    silent = sorted(world.data_plane.gateways)[0]
    answers = world.data_plane.gateways.pop(silent)
    world.reconcile()
    assert {info.epoch for info in world.data_plane.gateways.values()} == {7}
    world.reconcile()
    assert world.status["route"]["gatewaysOnEpoch"] == 1
    world.data_plane.gateways[silent] = answers
    world.settle()
    assert world.status["route"]["gatewaysOnEpoch"] == 2


def test_a_gateway_that_keeps_an_older_route_is_told(world: ServiceWorld) -> None:
    world.settle()

    async def deaf(pod: Manifest, _: Any) -> Any:
        return world.data_plane.gateways[pod["metadata"]["name"]]

    world.data_plane.push_route = deaf  # type: ignore[method-assign,assignment]  # it answers and does not take it
    world.tell(seq=1)
    world.reconcile()
    world.reconcile()
    assert world.condition("UpToDate")[:2] == ("False", "RouteStale")


def test_route_and_keys_that_are_not_there_keep_no_pod_from_starting() -> None:
    world = ServiceWorld(fallbackIndexRef={"name": "old"}, **KEYS)
    world.settle()
    volumes = {volume["name"]: volume for volume in pod_spec(world)["volumes"]}
    assert volumes["route"]["configMap"] == {"name": "docs-route", "optional": True}
    assert volumes["fallback-route"]["configMap"] == {"name": "old-route", "optional": True}
    assert volumes["keys"]["secret"] == {"secretName": "keys", "optional": True}
    assert env(world)["EO_KEYS_DIR"] == "/keys"
    assert env(world)["EO_FALLBACK_INDEX"] == "old"


# what is in the way


def test_an_index_that_does_not_exist_is_named() -> None:
    world = ServiceWorld(index=False)
    world.settle()
    assert world.condition("Ready")[:2] == ("False", "IndexNotReady")
    assert "VectorIndex docs does not exist" in world.condition("Ready")[2]
    assert "docs-search" in world.names("Deployment"), "it is made meanwhile"


def test_an_index_without_a_route_is_named(world: ServiceWorld) -> None:
    world.settle()
    world.kube.remove(CONFIG_MAP, "t", "docs-route")
    world.reconcile()
    assert world.condition("Ready")[:2] == ("False", "RouteUnavailable")
    assert "kubectl describe vi docs" in world.condition("Ready")[2]


@pytest.mark.parametrize(("fallback", "ready"), [({}, "False"), ({"fallbackIndexRef": {"name": "old"}}, "True")])
def test_an_index_that_is_down_is_told_unless_there_is_another(fallback: dict[str, Any], ready: str) -> None:
    world = ServiceWorld(**fallback)
    world.settle()
    down = [{"type": "Ready", "status": "False", "message": "shard docs-g1-s0 is away"}]
    world.kube.edit(VECTOR_INDEX, "t", "docs", lambda live: live["status"].update(conditions=down))
    world.reconcile()
    assert world.condition("Ready")[0] == ready
    if ready == "False":
        assert "shard docs-g1-s0 is away" in world.condition("Ready")[2]


def test_no_ready_gateway_is_told(world: ServiceWorld) -> None:
    world.reconcile()
    world.roll_out(ready=False)
    world.reconcile()
    assert world.condition("Ready")[:2] == ("False", "NoReadyPods")
    assert world.condition("Reconciling")[0] == "True"


def test_missing_keys_are_told_by_what_gateways_know() -> None:
    world = ServiceWorld(**KEYS)
    world.settle()
    world.tell(api_keys=0)
    world.reconcile()
    assert world.condition("Ready")[:2] == ("False", "APIKeysMissing")
    world.tell(api_keys=2)
    world.reconcile()
    assert world.condition("Ready")[0] == "True"


def test_an_unreachable_cache_is_told_and_no_reason_not_to_serve() -> None:
    world = ServiceWorld(cache={"redisSecretRef": {"name": "redis"}})
    world.settle()
    world.tell(cache_available=False)
    world.reconcile()
    assert world.condition("CacheAvailable")[0] == "False"
    assert world.condition("Ready")[0] == "True"
    (redis,) = [item for item in pod_spec(world)["containers"][0]["env"] if item["name"] == "EO_REDIS_URL"]
    assert redis["valueFrom"]["secretKeyRef"] == {"name": "redis", "key": "url"}


# reaching it


def test_an_ingress_leads_to_the_service() -> None:
    world = ServiceWorld(expose=INGRESS_, **KEYS)
    world.settle()
    spec = world.kube.objects[INGRESS, "t", "docs-search"]["spec"]
    assert spec["ingressClassName"] == "nginx"
    assert spec["tls"] == [{"hosts": ["search.example.com"], "secretName": "cert"}]
    (rule,) = spec["rules"]
    assert rule["http"]["paths"][0]["backend"] == {"service": {"name": "docs-search", "port": {"name": "http"}}}
    assert "from" not in world.kube.objects[NETWORK_POLICY, "t", "docs-search"]["spec"]["ingress"][0]
    world.edit(expose=None)
    world.kube.edit(world.kind, "t", "docs", lambda live: live["spec"].pop("expose"))
    world.settle()
    assert world.names("Ingress") == []
    policy = world.kube.objects[NETWORK_POLICY, "t", "docs-search"]["spec"]["ingress"][0]
    assert policy["from"] == [{"namespaceSelector": {}}]


def test_an_http_route_needs_the_gateway_api_and_all_else_is_made() -> None:
    world = ServiceWorld(expose=ROUTE, **KEYS)
    world.settle()
    assert world.condition("Stalled")[:2] == ("True", "GatewayAPIMissing")
    assert world.condition("Ready")[0] == "True"
    world.kube.unknown.clear()
    world.settle()
    assert world.kube.objects[HTTP_ROUTE, "t", "docs-search"]["spec"] == {
        "parentRefs": [{"name": "edge", "namespace": "edge"}],
        "rules": [{"backendRefs": [{"name": "docs-search", "port": 8080}]}],
        "hostnames": ["search.example.com"],
    }
    assert world.condition("Stalled")[0] == ""


def test_replicas_and_autoscaling_do_not_fight() -> None:
    world = ServiceWorld(autoscaling={"minReplicas": 3, "maxReplicas": 9})
    world.settle()
    assert world.kube.objects[HPA, "t", "docs-search"]["spec"]["maxReplicas"] == 9
    world.kube.edit(DEPLOYMENT, "t", "docs-search", lambda live: live["spec"].update(replicas=7))
    world.settle()
    assert world.kube.objects[DEPLOYMENT, "t", "docs-search"]["spec"]["replicas"] == 7


def test_scaled_to_zero_is_no_failure() -> None:
    world = ServiceWorld(replicas=0)
    world.settle()
    assert world.condition("Ready")[:2] == ("False", "ScaledToZero")
    assert world.condition("Reconciling")[0] == world.condition("Stalled")[0] == ""


# re-ranking


def test_a_re_ranker_is_called_by_its_revision() -> None:
    world = ServiceWorld(rerank={"modelRef": {"name": "rr"}, "candidates": 50, "timeoutMilliseconds": 150})
    world.settle()
    assert world.condition("RerankReady")[:2] == ("False", "ModelNotReady")
    assert world.condition("Ready")[0] == "True", "hits keep their first order"
    add_reranker(world)
    world.settle()
    assert env(world)["EO_RERANKER"] == "http://rr-embed-5e5e5e5e.t.svc:8080"
    assert (env(world)["EO_RERANK_CANDIDATES"], env(world)["EO_RERANK_TIMEOUT_SECONDS"]) == ("50", "0.15")
    assert world.condition("RerankReady")[0] == "True"


def test_an_encoder_is_no_re_ranker() -> None:
    world = ServiceWorld(rerank={"modelRef": {"name": "rr"}})
    add_reranker(world, task="Embed")
    world.settle()
    assert "EO_RERANKER" not in env(world)
    assert "spec.model.task" in world.condition("RerankReady")[2]


def test_a_revision_that_gateways_re_rank_with_stays() -> None:
    """Until the last pod that reads from it is gone."""
    world = World()
    world.settle()
    old = world.status["revision"]
    label = "embedding-operator.io/uses-m"
    labels = {"embedding-operator.io/searchservice": "docs", label: old}
    world.kube.add(DEPLOYMENT, {"metadata": {"name": "docs-search", "namespace": "t", "labels": labels}, "spec": {}})
    other = {"source": {"persistentVolumeClaim": {"claimName": "models", "path": "/other"}}}
    world.edit(model=other)
    world.settle()
    assert f"m-embed-{old}" in world.names("Deployment")
    assert world.status["revisions"][0]["usedBy"] or world.status["revisions"][1]["usedBy"]
    new = build_model.revision_of(EmbeddingModel.model_validate(embedding_model(model=other)).spec.model)
    world.kube.edit(DEPLOYMENT, "t", "docs-search", lambda live: live["metadata"]["labels"].update({label: new}))
    world.settle()
    assert f"m-embed-{old}" not in world.names("Deployment")
