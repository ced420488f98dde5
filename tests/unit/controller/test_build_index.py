"""Manifests of shards and gateways: safe by default, complete, and read by the pods as they were meant."""

from typing import Any

import pytest

from embedding_operator.api import SearchService, VectorIndex
from embedding_operator.build import search_service as build_service
from embedding_operator.build import vector_index as build
from embedding_operator.build.pod import SHUTDOWN_MARGIN_SECONDS
from embedding_operator.build.search_service import Reranker
from embedding_operator.build.vector_index import GenerationRecord, Volume
from embedding_operator.resources import Manifest
from embedding_serving.contract.index import Acknowledge, Distance, FieldIndex, FieldType, IndexType
from embedding_serving.contract.settings import GatewaySettings, ShardSettings
from fixtures.controller import INSTALLATION
from fixtures.kube import search_service, vector_index

RECORD = GenerationRecord(
    generation=3, shards=4, fingerprint="fp", dimensions=384, distance=Distance.COSINE, model="m", revision="1a2b3c4d"
)


def shard(**spec: Any) -> Manifest:
    index = VectorIndex.model_validate(vector_index(**spec))
    return build.stateful_set(index, build.generation_route(index, RECORD), 2, Volume("1Gi", None), INSTALLATION)


def gateway(reranker: Reranker | None = None, **spec: Any) -> Manifest:
    return build_service.deployment(SearchService.model_validate(search_service(**spec)), reranker, INSTALLATION)


def pod(manifest: Manifest) -> Manifest:
    return dict(manifest["spec"]["template"]["spec"])


def parsed(monkeypatch: pytest.MonkeyPatch, manifest: Manifest, name: str, role: Any) -> Any:
    """The settings as the pod of this name reads them."""
    fields = {"metadata.name": name, "metadata.namespace": "t"}
    for item in pod(manifest)["containers"][0]["env"]:
        value = item.get("value") or fields.get(item.get("valueFrom", {}).get("fieldRef", {}).get("fieldPath", ""), "secret")
        monkeypatch.setenv(item["name"], value)
    return role()


@pytest.mark.parametrize("manifest", [shard(), gateway()], ids=["shard", "gateway"])
def test_every_pod_is_restricted(manifest: Manifest) -> None:
    spec = pod(manifest)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["requests"]["memory"]
    assert {probe for probe in container if probe.endswith("Probe")} == {"startupProbe", "readinessProbe", "livenessProbe"}
    assert container["startupProbe"]["httpGet"]["path"] == "/healthz", "a shard that is not admitted must not be killed"


def test_a_shard_reads_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = shard(
        replicas=2,
        acknowledge="Follower",
        index={"type": "IVFPQ", "targetRecallPercent": 99, "parameters": {"lists": 7}},
        fields=[{"name": "author.name", "type": "Keyword"}],
    )
    settings: ShardSettings = parsed(monkeypatch, manifest, "docs-g3-s2-1", ShardSettings)
    assert (settings.pod, settings.namespace, settings.index) == ("docs-g3-s2-1", "t", "docs")
    assert (settings.generation, settings.shard, settings.shards) == (3, 2, 4)
    assert settings.writer == "docs-g3-s2-0.docs-g3-s2.t.svc"
    assert (settings.fingerprint, settings.dimensions, settings.text_required) == ("fp", 384, True)
    assert settings.acknowledge is Acknowledge.FOLLOWER
    options = settings.index_options
    assert (options.type, options.target_recall_percent, options.lists) == (IndexType.IVF_PQ, 99, 7)
    assert settings.fields == (FieldIndex(name="author.name", type=FieldType.KEYWORD),)
    assert settings.admin_public_keys == INSTALLATION.admin_public_keys


def test_a_gateway_reads_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = gateway(
        Reranker("rr", "5e5e5e5e"),
        timeoutMilliseconds=2_500,
        partialResults="Allow",
        limits={"maxK": 7, "maxBatch": 8, "maxBodyBytes": 9_000},
        cache={"ttlSeconds": 0, "redisSecretRef": {"name": "redis"}},
        rateLimit={"requestsPerMinute": 60, "burst": 5, "whenRedisFails": "Deny"},
        rerank={"modelRef": {"name": "rr"}},
        apiKeysSecretRef={"name": "keys"},
    )
    settings: GatewaySettings = parsed(monkeypatch, manifest, "docs-search-rs-1", GatewaySettings)
    assert (settings.pod, settings.service, settings.index) == ("docs-search-rs-1", "docs", "docs")
    assert (settings.timeout_seconds, settings.partial_results, settings.cache_ttl_seconds) == (2.5, True, 0)
    assert (settings.max_k, settings.max_batch, settings.max_body_bytes) == (7, 8, 9_000)
    assert (settings.requests_per_minute, settings.burst, settings.deny_without_redis) == (60, 5, True)
    assert settings.reranker == "http://rr-embed-5e5e5e5e.t.svc:8080"
    assert (settings.rerank_candidates, settings.rerank_timeout_seconds) == (100, 0.2)
    assert settings.keys_dir == "/keys"


def test_volumes_outlive_their_stateful_set_and_go_with_a_copy() -> None:
    spec = shard()["spec"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Delete"}
    assert spec["podManagementPolicy"] == "Parallel"
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["metadata"]["labels"].items() >= spec["selector"]["matchLabels"].items()
    assert "replicas" not in spec


def test_frames_are_for_gateways_that_search_this_index_and_for_its_shards() -> None:
    index = VectorIndex.model_validate(vector_index())
    frames, admin = build.network_policy(index, INSTALLATION)["spec"]["ingress"]
    assert frames["ports"] == [{"protocol": "TCP", "port": 8082}]
    allowed = [source["podSelector"]["matchLabels"] for source in frames["from"]]
    assert {"app.kubernetes.io/component": "gateway", "embedding-operator.io/searches-docs": "true"} in allowed
    labels = gateway()["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= allowed[0].items()
    assert admin["ports"] == [{"protocol": "TCP", "port": 8081}]
    assert shard()["spec"]["template"]["metadata"]["labels"].items() >= allowed[1].items()


def test_pods_have_time_to_end() -> None:
    for manifest, role in ((shard(), ShardSettings), (gateway(), GatewaySettings)):
        fields = role.model_fields
        needed = fields["drain_seconds"].default + fields["shutdown_seconds"].default
        assert pod(manifest)["terminationGracePeriodSeconds"] >= needed + SHUTDOWN_MARGIN_SECONDS


def test_names_fit_where_they_are_used() -> None:
    longest = "a" * 40
    index = VectorIndex.model_validate(vector_index(longest))
    record = RECORD.model_copy(update={"generation": 99_999, "shards": 256})
    manifest = build.stateful_set(index, build.generation_route(index, record), 255, Volume("1Gi", None), INSTALLATION)
    assert len(manifest["metadata"]["name"]) <= 52, "a label of the pods has it with a hash of ten characters"
    for labels in (
        manifest["metadata"]["labels"],
        gateway(indexRef={"name": longest})["spec"]["template"]["metadata"]["labels"],
    ):
        for key, value in labels.items():
            assert len(key.rpartition("/")[2]) <= 63
            assert len(value) <= 63
