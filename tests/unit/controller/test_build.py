"""Manifests of an EmbeddingModel: safe by default, complete, and read by the pods as they were meant."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from embedding_operator.api import EmbeddingModel
from embedding_operator.build import embedding_model as build
from embedding_operator.build import pod as build_pod
from embedding_operator.resources import Manifest
from embedding_serving.contract.model import DirectorySource, EngineName, HTTPSource, HubSource
from embedding_serving.contract.settings import ENV_PREFIX, EmbedSettings, PrepareSettings
from fixtures.controller import INSTALLATION
from fixtures.kube import embedding_model

SHA = "a" * 64
SOURCES: dict[str, dict[str, Any]] = {
    "hub": {"huggingFace": {"repo": "a/b", "revision": "0" * 40, "tokenSecretRef": {"name": "tok"}}},
    "image": {"image": {"reference": f"x@sha256:{SHA}", "path": "/model"}},
    "claim": {"persistentVolumeClaim": {"claimName": "models", "path": "/a/b"}},
    "http": {"http": {"url": "https://example.com/m.tar", "sha256": SHA}},
}


def owner(**spec: Any) -> EmbeddingModel:
    return EmbeddingModel.model_validate(embedding_model(**spec))


def pod_of(model: EmbeddingModel, **installation: Any) -> Manifest:
    revision = build.revision_of(model.spec.model)
    manifest = build.deployment(model, model.spec.model, revision, replace(INSTALLATION, **installation))
    return dict(manifest["spec"]["template"])


def containers(pod: Manifest) -> Iterator[Manifest]:
    yield from pod["spec"]["initContainers"]
    yield from pod["spec"]["containers"]


def env(container: Manifest) -> dict[str, str]:
    return {item["name"]: item["value"] for item in container["env"] if "value" in item}


@pytest.mark.parametrize("source", SOURCES)
def test_every_pod_is_restricted(source: str) -> None:
    pod = pod_of(owner(model={"source": SOURCES[source]}))
    spec = pod["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == "m-embed"
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    for container in containers(pod):
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert "privileged" not in security
    kinds = {key for volume in spec["volumes"] for key in volume if key != "name"}
    assert kinds <= {"emptyDir", "persistentVolumeClaim"}


@pytest.mark.parametrize("source", SOURCES)
def test_pods_read_the_settings_that_were_meant(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = owner(
        model={"source": SOURCES[source], "pooling": "CLS", "maxTokens": 100, "queryPrefix": "query: ", "documentPrefix": ""},
        runtime={"engine": "ONNXRuntime", "maxBatchTokens": 256, "maxQueuedTokens": 9000, "selfCheck": "Warn"},
        cache={"ttlSeconds": 60, "redisSecretRef": {"name": "redis"}},
        rateLimit={"requestsPerMinute": 5},
    )
    pod = pod_of(model, hub_endpoint="http://hub", http_allowed_hosts=("a", "b"))
    *_, prepare_container = pod["spec"]["initContainers"]
    (embed_container,) = pod["spec"]["containers"]

    def read(container: Manifest, settings: type[Any]) -> Any:
        for name in list(env(prepare_container) | env(embed_container)):
            monkeypatch.delenv(name, raising=False)
        for name, value in env(container).items():
            monkeypatch.setenv(name, value)
        return settings()

    prepare = read(prepare_container, PrepareSettings)
    kinds = {"hub": HubSource, "image": DirectorySource, "claim": DirectorySource, "http": HTTPSource}
    assert isinstance(prepare.source, kinds[source])
    assert (prepare.options.pooling, prepare.options.max_tokens) == ("CLS", 100)
    assert (prepare.options.query_prefix, prepare.options.document_prefix) == ("query: ", "")
    assert prepare.http_allowed_hosts == ("a", "b")
    assert prepare.hub_endpoint == "http://hub"
    embed = read(embed_container, EmbedSettings)
    assert (embed.model_name, embed.engine, embed.self_check) == ("m", EngineName.ONNX_RUNTIME, "Warn")
    assert (embed.max_batch_tokens, embed.max_queued_tokens, embed.cache_ttl_seconds) == (256, 9000, 60)
    assert (embed.requests_per_minute, embed.tokens_per_minute) == (5, None)
    assert prepare.revision == embed.revision == build.revision_of(model.spec.model)


def test_every_variable_is_one_that_a_role_reads() -> None:
    model = owner(model={"source": SOURCES["hub"]}, cache={"redisSecretRef": {"name": "redis"}})
    fields = (PrepareSettings.model_fields, EmbedSettings.model_fields)
    for container, names in zip(containers(pod_of(model)), fields, strict=True):
        known = {f"{ENV_PREFIX}{name.upper()}" for name in names}
        assert {item["name"] for item in container["env"]} <= known


def test_secrets_are_referred_to_and_never_written_out() -> None:
    model = owner(model={"source": SOURCES["hub"]}, cache={"redisSecretRef": {"name": "redis", "key": "u"}})
    prepare, embed = containers(pod_of(model))
    (token,) = [item for item in prepare["env"] if item["name"] == "EO_HUB_TOKEN"]
    assert token["valueFrom"] == {"secretKeyRef": {"name": "tok", "key": "token"}}
    (url,) = [item for item in embed["env"] if item["name"] == "EO_REDIS_URL"]
    assert url["valueFrom"] == {"secretKeyRef": {"name": "redis", "key": "u"}}
    assert "EO_HUB_TOKEN" not in {item["name"] for item in embed["env"]}, "the token stays with the step that fetches"


def test_devices_go_to_the_serving_container_alone() -> None:
    resources = {"limits": {"nvidia.com/gpu": 1, "memory": "8Gi"}, "requests": {"cpu": "2"}}
    model = owner(resources=resources)
    pod = pod_of(model, serving_torch_image="torch:1")
    prepare, embed = containers(pod)
    assert embed["resources"]["limits"] == {"nvidia.com/gpu": "1", "memory": "8Gi"}
    assert embed["resources"]["requests"] == {"cpu": "2"}, "a limit is a request, the default would be less"
    assert "nvidia.com/gpu" not in prepare["resources"]["limits"]
    assert {container["image"] for container in containers(pod)} == {"torch:1"}
    assert env(embed)["EO_ENGINE"] == "Torch"


def test_a_cpu_engine_on_a_device_needs_no_torch() -> None:
    model = owner(resources={"limits": {"nvidia.com/gpu": 1}}, runtime={"engine": "ONNXRuntime"})
    assert {container["image"] for container in containers(pod_of(model))} == {"serving:1"}


def test_scheduling_fields_reach_the_pod() -> None:
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    pod = {
        "labels": {"team": "search"},
        "annotations": {"example.com/a": "b"},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
        "topologySpreadConstraints": [constraint],
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
        "imagePullSecrets": [{"name": "pull"}],
    }
    made = pod_of(owner(pod=pod))
    spec = made["spec"]
    assert made["metadata"]["labels"]["team"] == "search"
    assert made["metadata"]["annotations"] == {"example.com/a": "b"}
    assert spec["nodeSelector"] == {"disk": "ssd"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists"}]
    assert spec["affinity"] == pod["affinity"]
    assert spec["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"]["app.kubernetes.io/instance"] == "m"
    assert (spec["priorityClassName"], spec["runtimeClassName"]) == ("high", "nvidia")
    assert spec["imagePullSecrets"] == [{"name": "pull"}]


def test_a_label_of_the_user_cannot_replace_one_of_ours() -> None:
    model = owner(pod={"labels": {"app.kubernetes.io/instance": "other"}})
    assert pod_of(model)["metadata"]["labels"]["app.kubernetes.io/instance"] == "m"


def test_children_of_the_longest_name_are_valid_names() -> None:
    model = EmbeddingModel.model_validate(embedding_model(name="m" * 40))
    revision = build.revision_of(model.spec.model)
    service = build.headless_service(model, revision)
    assert len(service["metadata"]["name"]) <= 63
    assert all(len(value) <= 63 for value in service["metadata"]["labels"].values())


@pytest.mark.parametrize("change", [{"pooling": "CLS"}, {"maxTokens": 7}, {"precision": "BFloat16"}, {"documentPrefix": ""}])
def test_what_moves_vectors_is_a_new_revision(change: dict[str, Any]) -> None:
    source = {"source": SOURCES["claim"]}
    assert build.revision_of(owner(model=source | change).spec.model) != build.revision_of(owner(model=source).spec.model)


@pytest.mark.parametrize("change", [{"task": "Embed"}, {"pooling": "Auto"}, {"precision": "Float32"}])
def test_a_default_that_is_written_out_is_the_same_revision(change: dict[str, Any]) -> None:
    source = {"source": SOURCES["claim"]}
    assert build.revision_of(owner(model=source | change).spec.model) == build.revision_of(owner(model=source).spec.model)


def test_the_claim_is_mounted_read_only_and_by_its_path() -> None:
    pod = pod_of(owner(model={"source": SOURCES["claim"]}))
    (mount,) = [mount for mount in pod["spec"]["initContainers"][0]["volumeMounts"] if mount["name"] == "source"]
    assert (mount["readOnly"], mount["subPath"]) == (True, "a/b")
    (serving,) = pod["spec"]["containers"]
    assert next(mount for mount in serving["volumeMounts"] if mount["name"] == "weights")["readOnly"] is True
    assert "source" not in {mount["name"] for mount in serving["volumeMounts"]}


def test_pods_may_be_reached_from_their_namespace_and_fetch_only_where_they_must() -> None:
    closed = owner(model={"source": SOURCES["image"]})
    policy = build.network_policy(closed, [closed.spec.model], INSTALLATION)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["ports"][0]["port"] for rule in policy["egress"]] == [53], "names, and nothing else"
    fetching = owner(model={"source": SOURCES["hub"]})
    assert len(build.network_policy(fetching, [fetching.spec.model], INSTALLATION)["spec"]["egress"]) == 2


def test_the_last_pod_outlives_its_drain() -> None:
    settings = EmbedSettings.model_fields
    needed = settings["drain_seconds"].default + settings["shutdown_seconds"].default
    assert pod_of(owner())["spec"]["terminationGracePeriodSeconds"] >= needed + build_pod.SHUTDOWN_MARGIN_SECONDS
