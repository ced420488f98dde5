"""Children of an EmbeddingModel: some of the model, some of each revision."""

import json

from embedding_serving.contract.settings import ADMIN_PORT, API_PORT

from ..api.autoscaling import MetricTarget, MetricType
from ..api.embeddingmodel import EmbeddingModel, Model, Strategy
from ..resources import DEPLOYMENT, Manifest
from . import embed_pod, names
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
    """An identity without rights, and without a token in the pods."""
    name = owner.metadata.name
    return {
        "metadata": names.owned(owner, names.embed(name), names.model_labels(name)),
        "automountServiceAccountToken": False,
    }


def service(owner: EmbeddingModel, revision: str) -> Manifest:
    """The stable Service, for people: it selects the pods of one revision."""
    name = owner.metadata.name
    return {
        "metadata": names.owned(owner, names.embed(name), names.model_labels(name)),
        "spec": {
            "selector": names.revision_selector(name, revision),
            "ports": [_port("http", API_PORT), _port("admin", ADMIN_PORT)],
        },
    }


def network_policy(owner: EmbeddingModel, models: list[Model], at: Installation) -> Manifest:
    """Who may reach the pods, and whom they may reach. Other namespaces need a policy of their user's own."""
    name = owner.metadata.name
    selector = {key: value for key, value in names.model_labels(name).items() if key in (names.COMPONENT, names.INSTANCE)}
    operator = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": at.operator_namespace}}}
    egress: list[Manifest] = [{"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}]
    fetches = any(model.source.hugging_face or model.source.http for model in models)
    if fetches or owner.spec.cache.redis_secret_ref:
        egress.append({"ports": [{"protocol": "TCP"}]})
    return {
        "metadata": names.owned(owner, names.embed(name), names.model_labels(name)),
        "spec": {
            "podSelector": {"matchLabels": selector},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": API_PORT}]},
                {"from": [{"podSelector": {}}, operator], "ports": [{"protocol": "TCP", "port": ADMIN_PORT}]},
            ],
            "egress": egress,
        },
    }


def record(owner: EmbeddingModel, model: Model, revision: str, fingerprint: str | None) -> Manifest:
    """What a revision is, kept while it stands: its spec.model, for when the owner's has moved on, and its fingerprint."""
    name = owner.metadata.name
    data = {MODEL_KEY: json.dumps(model.manifest(), sort_keys=True)}
    if fingerprint:
        data[embed_pod.FINGERPRINT_KEY] = fingerprint
    metadata = names.owned(owner, names.embed_revision(name, revision), names.revision_labels(name, revision))
    return {"metadata": metadata, "data": data}


def headless_service(owner: EmbeddingModel, revision: str) -> Manifest:
    """One A record a ready pod, for gateways that spread requests themselves."""
    name = owner.metadata.name
    return {
        "metadata": names.owned(owner, names.embed_revision(name, revision), names.revision_labels(name, revision)),
        "spec": {
            "clusterIP": "None",
            "selector": names.revision_selector(name, revision),
            "ports": [_port("http", API_PORT), _port("admin", ADMIN_PORT)],
        },
    }


def deployment(owner: EmbeddingModel, model: Model, revision: str, at: Installation) -> Manifest:
    """Replicas are left out on purpose: they belong to the scale subresource."""
    name = owner.metadata.name
    surge = owner.spec.rollout.strategy is Strategy.SURGE
    return {
        "metadata": names.owned(owner, names.embed_revision(name, revision), names.revision_labels(name, revision)),
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
    """A drained node takes one pod at a time."""
    name = owner.metadata.name
    return {
        "metadata": names.owned(owner, names.embed_revision(name, revision), names.revision_labels(name, revision)),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": names.revision_selector(name, revision)}},
    }


def autoscaler(owner: EmbeddingModel, revision: str) -> Manifest:
    """The HPA of a revision. Only for a model with spec.autoscaling."""
    wanted = owner.spec.autoscaling
    if wanted is None:
        raise ValueError("no autoscaling wanted")
    name = owner.metadata.name
    target = names.embed_revision(name, revision)
    spec: Manifest = {
        "scaleTargetRef": {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind, "name": target},
        "minReplicas": wanted.min_replicas,
        "maxReplicas": wanted.max_replicas,
        "metrics": [_metric(metric) for metric in wanted.metrics],
    }
    if wanted.behavior:
        spec["behavior"] = wanted.behavior.manifest()
    return {"metadata": names.owned(owner, target, names.revision_labels(name, revision)), "spec": spec}


def _metric(wanted: MetricTarget) -> Manifest:
    if wanted.type is MetricType.CPU_UTILIZATION:
        target = {"type": "Utilization", "averageUtilization": int(wanted.target)}
        return {"type": "Resource", "resource": {"name": "cpu", "target": target}}
    identity: Manifest = {"name": wanted.name or METRIC_NAMES[wanted.type]}
    if wanted.match_labels:
        identity["selector"] = {"matchLabels": dict(wanted.match_labels)}
    target = {"type": "AverageValue", "averageValue": wanted.target}
    kind = "External" if wanted.type is MetricType.EXTERNAL else "Pods"
    return {"type": kind, kind.lower(): {"metric": identity, "target": target}}


def _port(name: str, number: int) -> Manifest:
    return {"name": name, "port": number, "targetPort": name, "protocol": "TCP"}
