"""The pod of one revision of an EmbeddingModel: copy (for images), prepare, embed. Restricted by Pod Security."""

from typing import Any, TypeVar

from pydantic import BaseModel

from embedding_serving.contract.model import DirectorySource, EngineName, HTTPSource, HubSource, ModelOptions, Source
from embedding_serving.contract.reports import HEALTH_PATH, READY_PATH
from embedding_serving.contract.settings import (
    ADMIN_PORT,
    API_PORT,
    SOURCE_DIR,
    TERMINATION_PATH,
    WEIGHTS_DIR,
    EmbedSettings,
    PrepareSettings,
    RoleSettings,
    env_name,
    to_env,
)

from ..api.embeddingmodel import EmbeddingModel, Model
from ..resources import Manifest
from . import names
from .installation import Installation

USER = 65532
COPY, PREPARE, EMBED = "copy", "prepare", "embed"
DEFAULT_REQUESTS = {"cpu": "250m", "memory": "512Mi"}
STARTUP_PERIOD_SECONDS = 2
STARTUP_SECONDS = 1_800
"""A big model on a slow disk; the progress deadline is the Deployment's, and changing it restarts no pod."""
SHUTDOWN_MARGIN_SECONDS = 5
FINGERPRINT_KEY = "fingerprint"

Role = TypeVar("Role", bound=RoleSettings)


def needs_torch(owner: EmbeddingModel) -> bool:
    """Torch runs where the spec says so, and where it leaves the choice open and gives a device."""
    engine = owner.spec.runtime.engine
    return engine is EngineName.TORCH or (engine is EngineName.AUTO and bool(devices(owner)))


def devices(owner: EmbeddingModel) -> list[str]:
    """Names of the extended resources that the spec asks for, such as nvidia.com/gpu."""
    asked = owner.spec.resources.limits | owner.spec.resources.requests
    return sorted(name for name in asked if "/" in name)


def template(owner: EmbeddingModel, model: Model, revision: str, at: Installation) -> Manifest:
    """Pod template of a revision."""
    image = at.serving_torch_image if needs_torch(owner) else at.serving_image
    overrides = owner.spec.pod
    labels = overrides.labels | names.revision_labels(owner.metadata.name, revision)
    grace = EmbedSettings.model_fields["drain_seconds"].default + EmbedSettings.model_fields["shutdown_seconds"].default
    spec: Manifest = {
        "serviceAccountName": names.embed(owner.metadata.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": int(grace) + SHUTDOWN_MARGIN_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [*_copy(owner, model, at), _prepare(owner, model, revision, image, at)],
        "containers": [_embed(owner, revision, image, at)],
        "volumes": _volumes(owner, model),
    }
    spec |= _scheduling(owner, revision)
    metadata: Manifest = {"labels": labels}
    if overrides.annotations:
        metadata["annotations"] = dict(overrides.annotations)
    return {"metadata": metadata, "spec": spec}


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
    copy = _container(COPY, image.reference, at, [{"name": "source", "mountPath": SOURCE_DIR}])
    copy["command"] = ["cp", "-r", image.path.rstrip("/") + "/.", SOURCE_DIR]
    copy["resources"] = _resources(owner, with_devices=False)
    return [copy]


def _prepare(owner: EmbeddingModel, model: Model, revision: str, image: str, at: Installation) -> Manifest:
    settings = _settings(
        PrepareSettings,
        revision=revision,
        source=source(model),
        options=options(model),
        engine=_engine(owner),
        hub_endpoint=at.hub_endpoint or None,
        http_allowed_hosts=at.http_allowed_hosts,
    )
    mounts: list[Manifest] = [{"name": "weights", "mountPath": WEIGHTS_DIR}, {"name": "tmp", "mountPath": "/tmp"}]  # noqa: S108 - the pod's own
    claim = model.source.persistent_volume_claim
    if claim or model.source.image:
        mount: Manifest = {"name": "source", "mountPath": SOURCE_DIR, "readOnly": True}
        if claim and claim.path.strip("/"):
            mount["subPath"] = claim.path.strip("/")
        mounts.append(mount)
    container = _container(PREPARE, image, at, mounts)
    container["args"] = ["prepare"]
    container["env"] = [*_env(to_env(settings)), _known_fingerprint(owner, revision), *_hub_token(model)]
    container["resources"] = _resources(owner, with_devices=False)
    return container


def _embed(owner: EmbeddingModel, revision: str, image: str, at: Installation) -> Manifest:
    runtime, cache, rates = owner.spec.runtime, owner.spec.cache, owner.spec.rate_limit
    chosen: dict[str, Any] = {
        "max_batch_tokens": runtime.max_batch_tokens,
        "max_queued_tokens": runtime.max_queued_tokens,
        "requests_per_minute": rates.requests_per_minute,
        "tokens_per_minute": rates.tokens_per_minute,
    }
    settings = _settings(
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
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the pod's own
    ]
    container = _container(EMBED, image, at, mounts)
    container["args"] = ["embed"]
    container["env"] = [*_env(to_env(settings)), _known_fingerprint(owner, revision), *_redis_url(owner)]
    container["ports"] = [
        {"name": "http", "containerPort": API_PORT, "protocol": "TCP"},
        {"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"},
    ]
    container["resources"] = _resources(owner, with_devices=True)
    container["startupProbe"] = _probe(READY_PATH, STARTUP_PERIOD_SECONDS, STARTUP_SECONDS // STARTUP_PERIOD_SECONDS)
    container["readinessProbe"] = _probe(READY_PATH, 2, 2)
    container["livenessProbe"] = _probe(HEALTH_PATH, 10, 6)
    return container


def _settings(role: type[Role], **values: Any) -> Role:
    """The settings of a pod from these values alone: what the environment of this process says is none of them."""
    settings = role.__new__(role)
    BaseModel.__init__(settings, **values)
    return settings


def _engine(owner: EmbeddingModel) -> EngineName:
    """With a device and a free choice it is torch; without one, `prepare` and `embed` choose among the CPU engines."""
    return EngineName.TORCH if needs_torch(owner) else owner.spec.runtime.engine


def _container(name: str, image: str, at: Installation, mounts: list[Manifest]) -> Manifest:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": at.image_pull_policy,
        "volumeMounts": mounts,
        "terminationMessagePath": TERMINATION_PATH,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }


def _resources(owner: EmbeddingModel, *, with_devices: bool) -> Manifest:
    """Limits and requests; what neither names is requested by default. Devices go to the serving container alone."""
    limits = {key: value for key, value in owner.spec.resources.limits.items() if with_devices or "/" not in key}
    asked = {key: value for key, value in owner.spec.resources.requests.items() if with_devices or "/" not in key}
    requests = {key: value for key, value in DEFAULT_REQUESTS.items() if key not in limits} | asked
    return {key: value for key, value in (("limits", limits), ("requests", requests)) if value}


def _probe(path: str, period_seconds: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "admin"},
        "periodSeconds": period_seconds,
        "failureThreshold": failures,
        "timeoutSeconds": 3,
    }


def _env(values: dict[str, str]) -> list[Manifest]:
    return [{"name": name, "value": value} for name, value in sorted(values.items())]


def _known_fingerprint(owner: EmbeddingModel, revision: str) -> Manifest:
    """Read from the revision's record when the pod starts: learning it changes no template, so it rolls nothing."""
    record = names.embed_revision(owner.metadata.name, revision)
    key = {"name": record, "key": FINGERPRINT_KEY, "optional": True}
    return {"name": env_name("expected_fingerprint"), "valueFrom": {"configMapKeyRef": key}}


def _hub_token(model: Model) -> list[Manifest]:
    hub = model.source.hugging_face
    if hub is None or hub.token_secret_ref is None:
        return []
    return [_secret_env("hub_token", hub.token_secret_ref.name, hub.token_secret_ref.key)]


def _redis_url(owner: EmbeddingModel) -> list[Manifest]:
    redis = owner.spec.cache.redis_secret_ref
    return [_secret_env("redis_url", redis.name, redis.key)] if redis else []


def _secret_env(setting: str, name: str, key: str) -> Manifest:
    return {"name": env_name(setting), "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}


def _volumes(owner: EmbeddingModel, model: Model) -> list[Manifest]:
    weights = owner.spec.weights
    volumes: list[Manifest] = [{"name": "tmp", "emptyDir": {}}]
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


def _scheduling(owner: EmbeddingModel, revision: str) -> Manifest:
    pod = owner.spec.pod
    selector = {"matchLabels": names.revision_selector(owner.metadata.name, revision)}
    spread = [{"labelSelector": selector} | constraint.manifest() for constraint in pod.topology_spread_constraints]
    fields: Manifest = {
        "nodeSelector": dict(pod.node_selector),
        "tolerations": [toleration.manifest() for toleration in pod.tolerations],
        "affinity": pod.affinity.manifest() if pod.affinity else None,
        "topologySpreadConstraints": spread or [_over_nodes(selector)],
        "priorityClassName": pod.priority_class_name,
        "runtimeClassName": pod.runtime_class_name,
        "imagePullSecrets": [secret.manifest() for secret in pod.image_pull_secrets],
    }
    return {key: value for key, value in fields.items() if value}


def _over_nodes(selector: Manifest) -> Manifest:
    """A node that dies should take few pods of one revision with it."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": selector,
    }
