"""Children of a VectorIndex: some of the index, some of each shard of a generation, and the route, which outlives it."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from embedding_serving.contract.index import Distance, FieldIndex, IndexOptions
from embedding_serving.contract.reports import HEALTH_PATH, READY_PATH
from embedding_serving.contract.route import ROUTE_KEY, GenerationRoute, Route
from embedding_serving.contract.settings import API_PORT, DATA_DIR, FRAME_PORT, ShardSettings

from ..api.autoscaling import MetricType
from ..api.vectorindex import ReclaimPolicy, VectorIndex
from ..resources import STATEFUL_SET, VECTOR_INDEX, Manifest
from . import names, objects, pod
from .installation import Installation

SHARD_CONTAINER = "shard"
DATA_VOLUME = "data"
RECORD = f"{names.GENERATION}-record"
"""Annotation of StatefulSets and volumes: what their generation is."""
METRIC_NAMES: dict[MetricType, str] = {}
"""Of shards, CPU and metrics that the user names can be scaled on."""
STARTUP_PERIOD_SECONDS = 2
STARTUP_SECONDS = 3_600
"""A database that was not closed well is read through before anything is answered."""
FROM_THE_POD = {"pod": "metadata.name", "namespace": "metadata.namespace"}


class GenerationRecord(BaseModel):
    """What a generation is, apart from where it runs: enough to write its route again."""

    model_config = ConfigDict(frozen=True)

    generation: int
    shards: int
    fingerprint: str
    dimensions: int
    distance: Distance
    model: str | None = None
    revision: str | None = None
    storage_class: str | None = None
    token: str = ""


@dataclass(frozen=True)
class Volume:
    """How a shard's volumes were asked for when its StatefulSet was made: that part of it can't be changed."""

    size: str
    storage_class_name: str | None


def generation_route(index: VectorIndex, record: GenerationRecord) -> GenerationRoute:
    name, namespace = index.metadata.name, index.metadata.namespace
    made_with = record.model is not None and record.revision is not None
    return GenerationRoute(
        generation=record.generation,
        hosts=tuple(host(name, namespace, record.generation, number) for number in range(record.shards)),
        fingerprint=record.fingerprint,
        dimensions=record.dimensions,
        distance=record.distance,
        model=record.model,
        revision=record.revision,
        encoder=encoder_url(record.model, record.revision, namespace) if made_with else None,
        storage_class=record.storage_class,
        token=record.token,
    )


def encoder_url(model: str | None, revision: str | None, namespace: str) -> str:
    """The headless Service of a revision: the same vector space for as long as the name resolves."""
    return f"http://{names.embed_revision(model or '', revision or '')}.{namespace}.svc:{API_PORT}"


def host(index: str, namespace: str, generation: int, number: int) -> str:
    """DNS name of a shard: its records are the pods."""
    return f"{names.shard(index, generation, number)}.{namespace}.svc"


def record_of(generation: GenerationRoute) -> GenerationRecord:
    return GenerationRecord(
        generation=generation.generation,
        shards=generation.shards,
        fingerprint=generation.fingerprint,
        dimensions=generation.dimensions,
        distance=generation.distance,
        model=generation.model,
        revision=generation.revision,
        storage_class=generation.storage_class,
        token=generation.token,
    )


def route(index: VectorIndex, wanted: Route, accepted: str | None, resource_version: str | None) -> Manifest:
    """The route's ConfigMap. It has an owner only where it is to go with the index."""
    name = index.metadata.name
    models = {generation.model for generation in wanted.generations if generation.model}
    metadata: Manifest = {
        "name": names.route(name),
        "namespace": index.metadata.namespace,
        "labels": names.index_labels(name)
        | {names.COMPONENT: "route", names.PHASE: wanted.phase.value}
        | {names.uses(model): "true" for model in models},
        "annotations": {names.ACCEPTED: accepted} if accepted else {},
        "ownerReferences": kept_with(index),
    }
    if resource_version:
        metadata["resourceVersion"] = resource_version
    return {"metadata": metadata, "data": {ROUTE_KEY: wanted.model_dump_json()}}


def kept_with(index: VectorIndex) -> list[Manifest]:
    """Owners of what outlives an index under Retain: none then. Never a controller: volumes have one of their own."""
    if index.spec.storage.reclaim_policy is ReclaimPolicy.RETAIN:
        return []
    return [names.owner_reference(VECTOR_INDEX, index.metadata)]


def service_account(index: VectorIndex) -> Manifest:
    return objects.service_account(_of_index(index))


def network_policy(index: VectorIndex, at: Installation) -> Manifest:
    """Frames for gateways that search this index and for its own shards; the shards reach each other, DNS, and encoders."""
    name = index.metadata.name
    shards = {"podSelector": {"matchLabels": names.index_selector(name)}}
    gateways = {"podSelector": {"matchLabels": {names.COMPONENT: "gateway", names.searches(name): "true"}}}
    analysis = {"podSelector": {"matchLabels": names.analysis_selector(name)}}
    frames = [objects.tcp(FRAME_PORT)]
    ingress = [{"from": [gateways, shards, analysis], "ports": frames}, objects.admin_ingress(at)]
    egress = [objects.DNS_EGRESS, {"to": [shards], "ports": frames}]
    if index.spec.model_ref:
        encoders = {"podSelector": {"matchLabels": {names.COMPONENT: names.EMBED}}}
        spare = {"podSelector": {"matchLabels": {names.COMPONENT: names.SPARE, names.INSTANCE: name}}}
        egress.append({"to": [encoders, *([spare] if index.spec.rebuild.encoders else [])], "ports": [objects.tcp(API_PORT)]})
    return objects.network_policy(_of_index(index), names.index_selector(name), ingress, egress)


def headless_service(index: VectorIndex, generation: int, number: int) -> Manifest:
    """Pods are found before they are ready: a shard that is to be opened is told so, a gateway asks each who it is."""
    selector = names.shard_selector(index.metadata.name, generation, number)
    manifest = objects.headless_service(_of_shard(index, generation, number), selector, frames=FRAME_PORT)
    return manifest | {"spec": manifest["spec"] | {"publishNotReadyAddresses": True}}


def disruption_budget(index: VectorIndex, generation: int, number: int) -> Manifest:
    selector = names.shard_selector(index.metadata.name, generation, number)
    return objects.disruption_budget(_of_shard(index, generation, number), selector)


def autoscaler(index: VectorIndex, generation: int, number: int) -> Manifest:
    """The HPA of a shard. Only for an index with spec.autoscaling."""
    if index.spec.autoscaling is None:
        raise ValueError("no autoscaling wanted")
    return objects.autoscaler(_of_shard(index, generation, number), index.spec.autoscaling, STATEFUL_SET, METRIC_NAMES)


def stateful_set(index: VectorIndex, generation: GenerationRoute, number: int, volume: Volume, at: Installation) -> Manifest:
    """One shard: pod 0 takes its writes, the others follow. Replicas are left out: they belong to the scale subresource."""
    name = index.metadata.name
    metadata = _of_shard(index, generation.generation, number)
    metadata["annotations"] = _record(record_of(generation))
    return {
        "metadata": metadata,
        "spec": {
            "serviceName": metadata["name"],
            "podManagementPolicy": "Parallel",
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Delete"},
            "revisionHistoryLimit": 2,
            "updateStrategy": {"type": "RollingUpdate"},
            "selector": {"matchLabels": names.shard_selector(name, generation.generation, number)},
            "template": _template(index, generation, number, at),
            "volumeClaimTemplates": [_claim_template(index, generation, number, volume)],
        },
    }


def claim(index: VectorIndex, live: Manifest, size: str) -> Manifest:
    """What the operator decides of a volume that a StatefulSet made: how large it is, and whether it goes with the index."""
    return {
        "metadata": {
            "name": live["metadata"]["name"],
            "namespace": live["metadata"]["namespace"],
            "ownerReferences": kept_with(index),
        },
        "spec": {"resources": {"requests": {"storage": size}}},
    }


def _of_index(index: VectorIndex) -> Manifest:
    name = index.metadata.name
    return names.owned(VECTOR_INDEX, index.metadata, names.shards(name), names.index_labels(name))


def _of_shard(index: VectorIndex, generation: int, number: int) -> Manifest:
    name = index.metadata.name
    labels = names.shard_labels(name, generation, number)
    return names.owned(VECTOR_INDEX, index.metadata, names.shard(name, generation, number), labels)


def _record(record: GenerationRecord) -> dict[str, str]:
    return {RECORD: json.dumps(record.model_dump(mode="json", exclude_none=True), sort_keys=True)}


def _claim_template(index: VectorIndex, generation: GenerationRoute, number: int, volume: Volume) -> Manifest:
    spec: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": volume.size}}}
    if volume.storage_class_name is not None:
        spec["storageClassName"] = volume.storage_class_name
    lasting = record_of(generation).model_copy(update={"revision": None})  # another one of the same space may follow
    metadata = {
        "name": DATA_VOLUME,
        "labels": names.shard_labels(index.metadata.name, generation.generation, number),
        "annotations": _record(lasting),
    }
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def _template(index: VectorIndex, generation: GenerationRoute, number: int, at: Installation) -> Manifest:
    name = index.metadata.name
    fields = ShardSettings.model_fields
    return pod.template(
        index.spec.pod,
        labels=names.shard_labels(name, generation.generation, number),
        selector=names.shard_selector(name, generation.generation, number),
        service_account=names.shards(name),
        grace_seconds=fields["drain_seconds"].default + fields["shutdown_seconds"].default,
        parts={"containers": [_container(index, generation, number, at)], "volumes": [pod.TMP_VOLUME]},
    )


def _container(index: VectorIndex, generation: GenerationRoute, number: int, at: Installation) -> Manifest:
    mounts = [{"name": DATA_VOLUME, "mountPath": DATA_DIR}, pod.TMP_MOUNT]
    container = pod.container(SHARD_CONTAINER, at.serving_image, at, mounts)
    container["args"] = ["shard"]
    container["env"] = pod.settings_env(_settings(index, generation, number, at), FROM_THE_POD)
    container["ports"] = pod.ports(frames=FRAME_PORT)
    container["resources"] = pod.resources(index.spec.resources, with_devices=True)
    container["startupProbe"] = pod.probe(HEALTH_PATH, STARTUP_PERIOD_SECONDS, STARTUP_SECONDS // STARTUP_PERIOD_SECONDS)
    container["readinessProbe"] = pod.probe(READY_PATH, 2, 2)
    container["livenessProbe"] = pod.probe(HEALTH_PATH, 10, 6)
    return container


def _settings(index: VectorIndex, generation: GenerationRoute, number: int, at: Installation) -> ShardSettings:
    meta, spec = index.metadata, index.spec
    child = names.shard(meta.name, generation.generation, number)
    return pod.settings(
        ShardSettings,
        pod=f"{child}-0",
        namespace=meta.namespace,
        admin_public_keys=at.admin_public_keys,
        index=meta.name,
        generation=generation.generation,
        shard=number,
        shards=generation.shards,
        writer=f"{child}-0.{generation.hosts[number]}",
        fingerprint=generation.fingerprint,
        dimensions=generation.dimensions,
        distance=generation.distance,
        text_required=spec.model_ref is not None,
        acknowledge=spec.acknowledge,
        index_options=_options(index),
        fields=tuple(FieldIndex(name=field.name, type=field.type) for field in spec.fields),
    )


def _options(index: VectorIndex) -> IndexOptions:
    wanted = index.spec.index
    given: dict[str, Any] = wanted.parameters.model_dump(exclude_none=True)
    return IndexOptions(type=wanted.type, target_recall_percent=wanted.target_recall_percent, **given)
