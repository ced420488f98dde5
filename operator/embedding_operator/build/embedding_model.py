"""Children of an EmbeddingModel: some of the model, some of each revision."""

import json

from embedding_serving.contract.settings import API_PORT

from ..api.autoscaling import MetricType
from ..api.embeddingmodel import EmbeddingModel, Model, Strategy
from ..resources import DEPLOYMENT, EMBEDDING_MODEL, Manifest
from . import embed_pod, names, objects
from .installation import Installation

MODEL_KEY = "model"
METRIC_NAMES = {
    MetricType.QUEUED_TOKENS: "embedding_queued_tokens",
    MetricType.IN_FLIGHT_REQUESTS: "embedding_in_flight_requests",
    MetricType.REQUESTS_PER_SECOND: "embedding_requests_per_second",
    MetricType.LATENCY_P99_MILLISECONDS: "embedding_latency_p99_milliseconds",
}


def revision_of(model: Model) -> str:
    """Names a value of spec.model: 8 hex digits of its hash. Credentials, and members at their default, don't count."""
    value = model.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    for source in value["source"].values():
        source.pop("tokenSecretRef", None)
        source.pop("secretRef", None)
    return names.digest(value)[:8]


def service_account(owner: EmbeddingModel) -> Manifest:
    return objects.service_account(_of_model(owner))


def service(owner: EmbeddingModel, revision: str) -> Manifest:
    """The stable Service, for people: it selects the pods of one revision."""
    return objects.service(_of_model(owner), names.revision_selector(owner.metadata.name, revision), http=API_PORT)


def network_policy(owner: EmbeddingModel, models: list[Model], at: Installation) -> Manifest:
    """Who may reach the pods, and whom they may reach. Other namespaces need a policy of their user's own."""
    egress = [objects.DNS_EGRESS]
    fetches = any(model.source.hugging_face or model.source.http for model in models)
    if fetches or owner.spec.cache.redis_secret_ref:
        egress.append(objects.ANY_TCP_EGRESS)
    ingress = [{"from": [{"podSelector": {}}], "ports": [objects.tcp(API_PORT)]}, objects.admin_ingress(at)]
    return objects.network_policy(_of_model(owner), names.model_selector(owner.metadata.name), ingress, egress)


def record(owner: EmbeddingModel, model: Model, revision: str, fingerprint: str | None) -> Manifest:
    """What a revision is, kept while it stands: its spec.model, for when the owner's has moved on, and its fingerprint."""
    data = {MODEL_KEY: json.dumps(model.manifest(), sort_keys=True)}
    if fingerprint:
        data[embed_pod.FINGERPRINT_KEY] = fingerprint
    return {"metadata": _of_revision(owner, revision), "data": data}


def headless_service(owner: EmbeddingModel, revision: str) -> Manifest:
    """One A record a ready pod, for gateways that spread requests themselves."""
    selector = names.revision_selector(owner.metadata.name, revision)
    return objects.headless_service(_of_revision(owner, revision), selector, http=API_PORT)


def deployment(owner: EmbeddingModel, model: Model, revision: str, at: Installation) -> Manifest:
    """Replicas are left out on purpose: they belong to the scale subresource."""
    name = owner.metadata.name
    surge = owner.spec.rollout.strategy is Strategy.SURGE
    return {
        "metadata": _of_revision(owner, revision),
        "spec": {
            "selector": {"matchLabels": names.revision_selector(name, revision)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0} if surge else {"maxSurge": 0, "maxUnavailable": 1},
            },
            "progressDeadlineSeconds": owner.spec.rollout.progress_deadline_seconds,
            "revisionHistoryLimit": 2,
            "template": embed_pod.template(owner, model, revision, at),
        },
    }


def disruption_budget(owner: EmbeddingModel, revision: str) -> Manifest:
    return objects.disruption_budget(_of_revision(owner, revision), names.revision_selector(owner.metadata.name, revision))


def autoscaler(owner: EmbeddingModel, revision: str) -> Manifest:
    """The HPA of a revision. Only for a model with spec.autoscaling."""
    wanted = owner.spec.autoscaling
    if wanted is None:
        raise ValueError("no autoscaling wanted")
    return objects.autoscaler(_of_revision(owner, revision), wanted, DEPLOYMENT, METRIC_NAMES)


def _of_model(owner: EmbeddingModel) -> Manifest:
    name = owner.metadata.name
    return names.owned(EMBEDDING_MODEL, owner.metadata, names.embed(name), names.model_labels(name))


def _of_revision(owner: EmbeddingModel, revision: str) -> Manifest:
    name = owner.metadata.name
    labels = names.revision_labels(name, revision)
    return names.owned(EMBEDDING_MODEL, owner.metadata, names.embed_revision(name, revision), labels)
