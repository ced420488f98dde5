"""The pod of one revision of an EmbeddingModel: copy (for images), prepare, embed."""

from typing import Any

from embedding_serving.contract.model import DirectorySource, EngineName, HTTPSource, HubSource, ModelOptions, Source
from embedding_serving.contract.reports import HEALTH_PATH, READY_PATH
from embedding_serving.contract.settings import (
    API_PORT,
    SOURCE_DIR,
    WEIGHTS_DIR,
    EmbedSettings,
    PrepareSettings,
    env_name,
    to_env,
)

from ..api.embeddingmodel import EmbeddingModel, Model
from ..resources import Manifest
from . import names, pod
from .installation import Installation

COPY, PREPARE, EMBED = "copy", "prepare", "embed"
STARTUP_PERIOD_SECONDS = 2
STARTUP_SECONDS = 1_800
"""A big model on a slow disk; the progress deadline is the Deployment's, and changing it restarts no pod."""
FINGERPRINT_KEY = "fingerprint"


def needs_torch(owner: EmbeddingModel) -> bool:
    """Torch runs where the spec says so, and where it leaves the choice open and gives a device."""
    engine = owner.spec.runtime.engine
    return engine is EngineName.TORCH or (engine is EngineName.AUTO and bool(devices(owner)))


def devices(owner: EmbeddingModel) -> list[str]:
    """Names of the extended resources that the spec asks for, such as nvidia.com/gpu."""
    asked = owner.spec.resources.limits | owner.spec.resources.requests
    return sorted(name for name in asked if "/" in name)


def template(
    owner: EmbeddingModel,
    model: Model,
    revision: str,
    at: Installation,
    labels: dict[str, str] | None = None,
    selector: dict[str, str] | None = None,
) -> Manifest:
    """Pod template of a revision. Labels and the selector that finds them: those of the revision where none are given."""
    image = at.serving_torch_image if needs_torch(owner) else at.serving_image
    name = owner.metadata.name
    fields = EmbedSettings.model_fields
    return pod.template(
        owner.spec.pod,
        labels=labels or names.revision_labels(name, revision),
        selector=selector or names.revision_selector(name, revision),
        service_account=names.embed(name),
        grace_seconds=fields["drain_seconds"].default + fields["shutdown_seconds"].default,
        parts={
            "initContainers": [*_copy(owner, model, at), _prepare(owner, model, revision, image, at)],
            "containers": [_embed(owner, revision, image, at)],
            "volumes": _volumes(owner, model),
        },
    )


def options(model: Model) -> ModelOptions:
    return ModelOptions(
        task=model.task,
        pooling=model.pooling,
        normalize=model.normalize,
        dimensions=model.dimensions,
        max_tokens=model.max_tokens,
        query_prefix=model.query_prefix,
        document_prefix=model.document_prefix,
        precision=model.precision,
    )


def source(model: Model) -> Source:
    """Where `prepare` finds the files: claims and images are directories by then."""
    given = model.source
    if given.hugging_face:
        return HubSource(repo=given.hugging_face.repo, revision=given.hugging_face.revision)
    if given.http:
        return HTTPSource(url=given.http.url, sha256=given.http.sha256)
    return DirectorySource(path=SOURCE_DIR)


def _copy(owner: EmbeddingModel, model: Model, at: Installation) -> list[Manifest]:
    image = model.source.image
    if image is None:
        return []
    copy = pod.container(COPY, image.reference, at, [{"name": "source", "mountPath": SOURCE_DIR}])
    copy["command"] = ["cp", "-r", image.path.rstrip("/") + "/.", SOURCE_DIR]
    copy["resources"] = pod.resources(owner.spec.resources, with_devices=False)
    return [copy]


def _prepare(owner: EmbeddingModel, model: Model, revision: str, image: str, at: Installation) -> Manifest:
    settings = pod.settings(
        PrepareSettings,
        revision=revision,
        source=source(model),
        options=options(model),
        engine=_engine(owner),
        hub_endpoint=at.hub_endpoint or None,
        http_allowed_hosts=at.http_allowed_hosts,
    )
    mounts: list[Manifest] = [{"name": "weights", "mountPath": WEIGHTS_DIR}, pod.TMP_MOUNT]
    claim = model.source.persistent_volume_claim
    if claim or model.source.image:
        mount: Manifest = {"name": "source", "mountPath": SOURCE_DIR, "readOnly": True}
        if claim and claim.path.strip("/"):
            mount["subPath"] = claim.path.strip("/")
        mounts.append(mount)
    container = pod.container(PREPARE, image, at, mounts)
    container["args"] = ["prepare"]
    container["env"] = [*pod.env(to_env(settings)), _known_fingerprint(owner, revision), *_hub_token(model)]
    container["resources"] = pod.resources(owner.spec.resources, with_devices=False)
    return container


def _embed(owner: EmbeddingModel, revision: str, image: str, at: Installation) -> Manifest:
    runtime, cache, rates = owner.spec.runtime, owner.spec.cache, owner.spec.rate_limit
    chosen: dict[str, Any] = {
        "max_batch_tokens": runtime.max_batch_tokens,
        "max_queued_tokens": runtime.max_queued_tokens,
        "requests_per_minute": rates.requests_per_minute,
        "tokens_per_minute": rates.tokens_per_minute,
    }
    settings = pod.settings(
        EmbedSettings,
        revision=revision,
        model_name=owner.metadata.name,
        engine=_engine(owner),
        self_check=runtime.self_check,
        cache_ttl_seconds=cache.ttl_seconds,
        **{key: value for key, value in chosen.items() if value is not None},
    )
    mounts: list[Manifest] = [
        {"name": "weights", "mountPath": WEIGHTS_DIR, "readOnly": True},
        pod.TMP_MOUNT,
    ]
    container = pod.container(EMBED, image, at, mounts)
    container["args"] = ["embed"]
    container["env"] = [*pod.env(to_env(settings)), _known_fingerprint(owner, revision), *_redis_url(owner)]
    container["ports"] = pod.ports(http=API_PORT)
    container["resources"] = pod.resources(owner.spec.resources, with_devices=True)
    container["startupProbe"] = pod.probe(READY_PATH, STARTUP_PERIOD_SECONDS, STARTUP_SECONDS // STARTUP_PERIOD_SECONDS)
    container["readinessProbe"] = pod.probe(READY_PATH, 2, 2)
    container["livenessProbe"] = pod.probe(HEALTH_PATH, 10, 6)
    return container


def _engine(owner: EmbeddingModel) -> EngineName:
    """With a device and a free choice it is torch; without one, `prepare` and `embed` choose among the CPU engines."""
    return EngineName.TORCH if needs_torch(owner) else owner.spec.runtime.engine


def _known_fingerprint(owner: EmbeddingModel, revision: str) -> Manifest:
    """Read from the revision's record when the pod starts: learning it changes no template, so it rolls nothing."""
    record = names.embed_revision(owner.metadata.name, revision)
    key = {"name": record, "key": FINGERPRINT_KEY, "optional": True}
    return {"name": env_name("expected_fingerprint"), "valueFrom": {"configMapKeyRef": key}}


def _hub_token(model: Model) -> list[Manifest]:
    hub = model.source.hugging_face
    if hub is None or hub.token_secret_ref is None:
        return []
    return [pod.secret_env("hub_token", hub.token_secret_ref.name, hub.token_secret_ref.key)]


def _redis_url(owner: EmbeddingModel) -> list[Manifest]:
    redis = owner.spec.cache.redis_secret_ref
    return [pod.secret_env("redis_url", redis.name, redis.key)] if redis else []


def _volumes(owner: EmbeddingModel, model: Model) -> list[Manifest]:
    weights = owner.spec.weights
    volumes: list[Manifest] = [pod.TMP_VOLUME]
    if weights and weights.persistent_volume_claim:
        volumes.append({"name": "weights", "persistentVolumeClaim": {"claimName": weights.persistent_volume_claim.claim_name}})
    else:
        volumes.append({"name": "weights", "emptyDir": {"sizeLimit": weights.size} if weights and weights.size else {}})
    claim = model.source.persistent_volume_claim
    if claim:
        volumes.append({"name": "source", "persistentVolumeClaim": {"claimName": claim.claim_name, "readOnly": True}})
    elif model.source.image:
        volumes.append({"name": "source", "emptyDir": {}})
    return volumes
