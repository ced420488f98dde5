"""The status of a SearchService: whether it answers, from what, and what is in the way."""

from dataclasses import dataclass
from typing import Any

from embedding_serving.contract.model import Task
from embedding_serving.contract.settings import API_PORT

from ..api.searchservice import SearchServiceStatus
from ..build import names
from ..resources import DEPLOYMENT, Manifest
from ..status import Condition, merge
from . import workload
from .diagnosis import Finding, diagnose, is_ready
from .snapshot import ServiceSnapshot

CONDITION_TYPES = frozenset({"Ready", "UpToDate", "Reconciling", "Stalled", "RerankReady", "CacheAvailable", "ScalingActive"})
STATUS_MEMBERS = frozenset(str(field.alias) for field in SearchServiceStatus.model_fields.values())
RERANK = Task.RERANK.value
AT_REST = frozenset({"Paused", "ScaledToZero"})


@dataclass(frozen=True)
class Verdict:
    """What the plan found, condensed for the status."""

    impossible: Finding | None
    """What can't be made of the spec."""
    strangers: tuple[str, ...]
    pending: bool

    @property
    def blocker(self) -> Finding | None:
        """What waiting does not mend."""
        if self.strangers:
            taken = ", ".join(self.strangers)
            text = f"{taken} exists already and belongs to somebody else: rename or delete it, or rename this"
            return Finding("NameConflict", text)
        return self.impossible


def conditions(s: ServiceSnapshot, v: Verdict) -> list[Condition]:
    finding = diagnose(s.pods, ())
    ready, current = _ready(s, finding), _up_to_date(s, v, finding)
    decided = [ready, current]
    blocker = v.blocker or (finding if finding and finding.stalled and current.status != "True" else None)
    if blocker and not s.paused:
        decided.append(Condition("Stalled", "True", blocker.reason, blocker.message))
    elif not s.paused:
        moving = next((one for one in (current, ready) if one.status != "True" and one.reason not in AT_REST), None)
        if moving:
            decided.append(Condition("Reconciling", "True", moving.reason, moving.message))
    others = (_rerank(s), _cache(s), _scaling(s))
    return [*decided, *(condition for condition in others if condition)]


def status_of(s: ServiceSnapshot, v: Verdict, decided: list[Condition]) -> Manifest:
    """The whole status, without members that are not known."""
    name, namespace, generation = s.metadata.name, s.metadata.namespace, s.metadata.generation
    deployment = _deployment(s)
    selector = ",".join(f"{key}={value}" for key, value in names.service_selector(name).items())
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": merge(s.status.get("conditions", []), decided, generation, s.now),
        "progress": _progress(s, v, decided),
        "replicas": workload.count(deployment, "replicas"),
        "readyReplicas": workload.count(deployment, "readyReplicas"),
        "selector": selector,
        "endpoint": f"http://{names.gateway(name)}.{namespace}.svc:{API_PORT}",
        "route": _route(s),
    }
    return {key: value for key, value in status.items() if value is not None}


def _deployment(s: ServiceSnapshot) -> Manifest | None:
    return s.children.get(DEPLOYMENT, names.gateway(s.metadata.name))


def _ready(s: ServiceSnapshot, finding: Finding | None) -> Condition:
    index, spec = s.service.spec.index_ref.name, s.service.spec
    if s.index is None:
        text = f"VectorIndex {index} does not exist in this namespace: apply it, or correct spec.indexRef.name"
        return Condition("Ready", "False", "IndexNotReady", text)
    if s.route is None:
        text = f"ConfigMap {names.route(index)} has no route yet: {s.index.message}: kubectl describe vi {index}"
        return Condition("Ready", "False", "RouteUnavailable", text)
    if spec.replicas == 0 and spec.autoscaling is None:
        return Condition("Ready", "False", "ScaledToZero", "spec.replicas is 0: raise it to serve")
    if not s.index.ready and spec.fallback_index_ref is None:
        text = f"VectorIndex {index} is not ready: {s.index.message}"
        return Condition("Ready", "False", "IndexNotReady", text)
    ready = workload.count(_deployment(s), "readyReplicas")
    if not ready:
        text = finding.message if finding else "no gateway pod is ready"
        return Condition("Ready", "False", "NoReadyPods", f"{text}: kubectl get pods -l {names.INSTANCE}={s.metadata.name}")
    if _keyless(s):
        secret = spec.api_keys_secret_ref.name if spec.api_keys_secret_ref else ""
        text = f"Secret {secret} does not exist or has no usable API key: every request is refused until it has one"
        return Condition("Ready", "False", "APIKeysMissing", text)
    return Condition("Ready", "True", "Serving", f"{ready} gateway pods answer from generation {s.route.writer}")


def _keyless(s: ServiceSnapshot) -> bool:
    """Whether no gateway knows a key though keys are asked for."""
    known = [info.api_keys for info in s.infos.values() if info.api_keys is not None]
    return bool(s.service.spec.api_keys_secret_ref and known and not any(known))


def _up_to_date(s: ServiceSnapshot, v: Verdict, finding: Finding | None) -> Condition:
    if s.paused:
        text = f"annotation {names.PAUSED} is true: nothing is touched until it is removed"
        return Condition("UpToDate", "Unknown", "Paused", text)
    deployment = _deployment(s)
    if not workload.rolled_out(deployment) or v.blocker or s.failures:
        ready, wanted = workload.count(deployment, "readyReplicas"), workload.wanted(deployment)
        details = [*s.failures, *([v.blocker.message] if v.blocker else [finding.message] if finding else [])]
        text = "; ".join([f"{ready} of {wanted} gateway pods are ready", *details])
        return Condition("UpToDate", "False", "RollingOut", text)
    stale = [name for name, info in s.infos.items() if s.route and (info.seq or 0) < s.route.seq]
    if stale:
        text = f"{len(stale)} gateway pods have an older route than the index: it is given to them: {stale[0]}"
        return Condition("UpToDate", "False", "RouteStale", text)
    if v.pending:
        return Condition("UpToDate", "False", "RollingOut", "settings are on their way")
    return Condition("UpToDate", "True", "UpToDate", "every gateway is as the spec asks for")


def _rerank(s: ServiceSnapshot) -> Condition | None:
    wanted = s.service.spec.rerank
    if wanted is None:
        return None
    name, model = wanted.model_ref.name, s.reranker
    if model is None:
        text = f"EmbeddingModel {name} does not exist: apply it; hits keep their first order until then"
        return Condition("RerankReady", "False", "ModelNotReady", text)
    if model.task != RERANK:
        text = f"EmbeddingModel {name} is no re-ranker: set its spec.model.task to Rerank, or name another one"
        return Condition("RerankReady", "False", "ModelNotReady", text)
    if not model.ready:
        text = f"EmbeddingModel {name} is not ready ({model.message}); hits keep their first order until then"
        return Condition("RerankReady", "False", "ModelNotReady", text)
    return Condition("RerankReady", "True", "Serving", f"revision {model.revision} of EmbeddingModel {name} orders hits")


def _cache(s: ServiceSnapshot) -> Condition | None:
    redis = s.service.spec.cache.redis_secret_ref
    said = [info.cache_available for info in s.infos.values() if info.cache_available is not None]
    if redis is None or not said:
        return None
    if all(said):
        return Condition("CacheAvailable", "True", "Reachable", "every gateway reaches Redis")
    text = f"{said.count(False)} of {len(said)} gateways do not reach the Redis of Secret {redis.name}: slower, not wrong"
    return Condition("CacheAvailable", "False", "RedisUnavailable", text)


def _scaling(s: ServiceSnapshot) -> Condition | None:
    return workload.scaling_active(s.children, names.gateway(s.metadata.name)) if s.service.spec.autoscaling else None


def _progress(s: ServiceSnapshot, v: Verdict, decided: list[Condition]) -> str | None:
    if s.paused:
        return "Paused"
    found = {condition.type: condition for condition in decided}
    if "Stalled" in found:
        return found["Stalled"].reason
    if "Reconciling" not in found:
        return None
    if found["UpToDate"].status == "True":
        return found["Ready"].reason
    deployment = _deployment(s)
    return f"RollingOut {workload.count(deployment, 'readyReplicas')}/{workload.wanted(deployment)}"


def _route(s: ServiceSnapshot) -> Manifest:
    index = s.service.spec.index_ref.name
    if s.route is None:
        return {"index": index}
    ready = {pod["metadata"]["name"] for pod in s.pods if is_ready(pod)}
    on_epoch = [name for name, info in s.infos.items() if name in ready and info.epoch == s.route.epoch]
    return {"index": index, "generation": s.route.writer, "epoch": s.route.epoch, "gatewaysOnEpoch": len(on_epoch)}
