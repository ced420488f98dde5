"""Children of a SearchService: the gateway and what makes it reachable."""

from dataclasses import dataclass
from typing import Any

from embedding_serving.contract.reports import HEALTH_PATH, READY_PATH
from embedding_serving.contract.settings import (
    API_PORT,
    FALLBACK_ROUTE_DIR,
    FRAME_PORT,
    KEYS_DIR,
    ROUTE_DIR,
    GatewaySettings,
)

from ..api.autoscaling import MetricType
from ..api.searchservice import PartialResults, SearchService, WhenRedisFails
from ..resources import DEPLOYMENT, SEARCH_SERVICE, Manifest
from . import names, objects, pod
from .installation import Installation
from .vector_index import FROM_THE_POD, encoder_url

GATEWAY = "gateway"
METRIC_NAMES: dict[MetricType, str] = {}
"""Of gateways, CPU and metrics that the user names can be scaled on."""
STARTUP_PERIOD_SECONDS = 2
STARTUP_SECONDS = 120


@dataclass(frozen=True)
class Reranker:
    """The revision of an EmbeddingModel that orders hits again."""

    model: str
    revision: str


def service_account(owner: SearchService) -> Manifest:
    return objects.service_account(_metadata(owner))


def service(owner: SearchService) -> Manifest:
    return objects.service(_metadata(owner), names.service_selector(owner.metadata.name), http=API_PORT)


def disruption_budget(owner: SearchService) -> Manifest:
    return objects.disruption_budget(_metadata(owner), names.service_selector(owner.metadata.name))


def autoscaler(owner: SearchService) -> Manifest:
    """Only for a service with spec.autoscaling."""
    if owner.spec.autoscaling is None:
        raise ValueError("no autoscaling wanted")
    return objects.autoscaler(_metadata(owner), owner.spec.autoscaling, DEPLOYMENT, METRIC_NAMES)


def network_policy(owner: SearchService, at: Installation) -> Manifest:
    """The API for every pod of the cluster, for everybody where it is exposed; out of it to shards and models alone."""
    api: Manifest = {"ports": [objects.tcp(API_PORT)]}
    if owner.spec.expose is None:
        api["from"] = [{"namespaceSelector": {}}]
    shards = [{"podSelector": {"matchLabels": names.index_selector(index)}} for index in _indexes(owner)]
    models = {"podSelector": {"matchLabels": {names.COMPONENT: "embed"}}}
    egress = [
        objects.DNS_EGRESS,
        {"to": shards, "ports": [objects.tcp(FRAME_PORT)]},
        {"to": [models], "ports": [objects.tcp(API_PORT)]},
    ]
    if owner.spec.cache.redis_secret_ref:
        egress.append(objects.ANY_TCP_EGRESS)
    selector = names.service_selector(owner.metadata.name)
    return objects.network_policy(_metadata(owner), selector, [api, objects.admin_ingress(at)], egress)


def ingress(owner: SearchService) -> Manifest:
    """Only for a service that asks for one."""
    wanted = owner.spec.expose.ingress if owner.spec.expose else None
    if wanted is None:
        raise ValueError("no Ingress wanted")
    backend = {"service": {"name": names.gateway(owner.metadata.name), "port": {"name": "http"}}}
    path = {"path": "/", "pathType": "Prefix", "backend": backend}
    spec: Manifest = {"rules": [{"host": wanted.host, "http": {"paths": [path]}}]}
    if wanted.class_name:
        spec["ingressClassName"] = wanted.class_name
    if wanted.tls_secret_ref:
        spec["tls"] = [{"hosts": [wanted.host], "secretName": wanted.tls_secret_ref.name}]
    return {"metadata": _metadata(owner), "spec": spec}


def http_route(owner: SearchService) -> Manifest:
    """Only for a service that asks for one, on a cluster that has the Gateway API."""
    wanted = owner.spec.expose.http_route if owner.spec.expose else None
    if wanted is None:
        raise ValueError("no HTTPRoute wanted")
    backend = {"name": names.gateway(owner.metadata.name), "port": API_PORT}
    spec: Manifest = {
        "parentRefs": [parent.manifest() for parent in wanted.parent_refs],
        "rules": [{"backendRefs": [backend]}],
    }
    if wanted.hostnames:
        spec["hostnames"] = list(wanted.hostnames)
    return {"metadata": _metadata(owner), "spec": spec}


def deployment(owner: SearchService, reranker: Reranker | None, at: Installation) -> Manifest:
    """Replicas are left out on purpose: they belong to the scale subresource."""
    name = owner.metadata.name
    metadata = _metadata(owner)
    metadata["labels"] = metadata["labels"] | _reads(reranker)
    fields = GatewaySettings.model_fields
    template = pod.template(
        owner.spec.pod,
        labels=names.service_labels(name) | {names.searches(index): "true" for index in _indexes(owner)} | _reads(reranker),
        selector=names.service_selector(name),
        service_account=names.gateway(name),
        grace_seconds=fields["drain_seconds"].default + fields["shutdown_seconds"].default,
        parts={"containers": [_container(owner, reranker, at)], "volumes": _volumes(owner)},
    )
    return {
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": names.service_selector(name)},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "revisionHistoryLimit": 2,
            "template": template,
        },
    }


def _metadata(owner: SearchService) -> Manifest:
    name = owner.metadata.name
    return names.owned(SEARCH_SERVICE, owner.metadata, names.gateway(name), names.service_labels(name))


def _reads(reranker: Reranker | None) -> dict[str, str]:
    """Keeps the revision, as long as a pod reads from it."""
    return {names.uses(reranker.model): reranker.revision} if reranker else {}


def _indexes(owner: SearchService) -> list[str]:
    fallback = owner.spec.fallback_index_ref
    return [owner.spec.index_ref.name, *([fallback.name] if fallback else [])]


def _container(owner: SearchService, reranker: Reranker | None, at: Installation) -> Manifest:
    container = pod.container(GATEWAY, at.serving_image, at, _mounts(owner))
    redis = owner.spec.cache.redis_secret_ref
    container["args"] = ["gateway"]
    container["env"] = pod.settings_env(_settings(owner, reranker, at), FROM_THE_POD)
    if redis:
        container["env"].append(pod.secret_env("redis_url", redis.name, redis.key))
    container["ports"] = pod.ports(http=API_PORT)
    container["resources"] = pod.resources(owner.spec.resources, with_devices=True)
    container["startupProbe"] = pod.probe(HEALTH_PATH, STARTUP_PERIOD_SECONDS, STARTUP_SECONDS // STARTUP_PERIOD_SECONDS)
    container["readinessProbe"] = pod.probe(READY_PATH, 2, 2)
    container["livenessProbe"] = pod.probe(HEALTH_PATH, 10, 6)
    return container


def _settings(owner: SearchService, reranker: Reranker | None, at: Installation) -> GatewaySettings:
    meta, spec = owner.metadata, owner.spec
    limits, rates, rerank = spec.limits, spec.rate_limit, spec.rerank
    chosen: dict[str, Any] = {
        "fallback_index": spec.fallback_index_ref.name if spec.fallback_index_ref else None,
        "keys_dir": KEYS_DIR if spec.api_keys_secret_ref else None,
        "requests_per_minute": rates.requests_per_minute if rates else None,
        "burst": rates.burst if rates else None,
        "reranker": encoder_url(reranker.model, reranker.revision, meta.namespace) if reranker else None,
        "rerank_candidates": rerank.candidates if rerank else None,
        "rerank_timeout_seconds": rerank.timeout_milliseconds / 1_000 if rerank else None,
    }
    return pod.settings(
        GatewaySettings,
        pod=names.gateway(meta.name),
        namespace=meta.namespace,
        admin_public_keys=at.admin_public_keys,
        service=meta.name,
        index=spec.index_ref.name,
        timeout_seconds=spec.timeout_milliseconds / 1_000,
        partial_results=spec.partial_results is PartialResults.ALLOW,
        max_body_bytes=limits.max_body_bytes,
        max_k=limits.max_k,
        max_batch=limits.max_batch,
        cache_ttl_seconds=spec.cache.ttl_seconds,
        deny_without_redis=bool(rates and rates.when_redis_fails is WhenRedisFails.DENY),
        **{key: value for key, value in chosen.items() if value is not None},
    )


def _mounts(owner: SearchService) -> list[Manifest]:
    mounts: list[Manifest] = [{"name": "route", "mountPath": ROUTE_DIR, "readOnly": True}, pod.TMP_MOUNT]
    if owner.spec.fallback_index_ref:
        mounts.append({"name": "fallback-route", "mountPath": FALLBACK_ROUTE_DIR, "readOnly": True})
    if owner.spec.api_keys_secret_ref:
        mounts.append({"name": "keys", "mountPath": KEYS_DIR, "readOnly": True})
    return mounts


def _volumes(owner: SearchService) -> list[Manifest]:
    """A route or keys that are not there yet keep no pod from starting: it refuses requests until they are."""
    fallback, keys = owner.spec.fallback_index_ref, owner.spec.api_keys_secret_ref
    volumes = [_route("route", owner.spec.index_ref.name), pod.TMP_VOLUME]
    if fallback:
        volumes.append(_route("fallback-route", fallback.name))
    if keys:
        volumes.append({"name": "keys", "secret": {"secretName": keys.name, "optional": True}})
    return volumes


def _route(volume: str, index: str) -> Manifest:
    return {"name": volume, "configMap": {"name": names.route(index), "optional": True}}
