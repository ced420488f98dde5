"""The revisions of an EmbeddingModel as they stand: which exist, which serve, which may go."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError

from embedding_serving.contract.reports import ModelInfo

from ..api.embeddingmodel import EmbeddingModel, Model
from ..build import embed_pod, names
from ..build.embedding_model import MODEL_KEY, revision_of
from ..resources import CONFIG_MAP, DEPLOYMENT, SERVICE, Manifest
from . import workload
from .diagnosis import Finding, diagnose, is_preparing, is_ready, report_of
from .snapshot import ModelSnapshot


@dataclass(frozen=True)
class Revision:
    """One value of spec.model and what stands for it."""

    name: str
    model: Model | None
    """None where its record is gone or unreadable: it is then left as it is."""
    fingerprint: str | None
    dimensions: int | None
    deployment: Manifest | None
    pods: tuple[Manifest, ...]
    info: ModelInfo | None
    used_by: tuple[str, ...]
    finding: Finding | None

    @property
    def wanted(self) -> int:
        return workload.wanted(self.deployment)

    @property
    def replicas(self) -> int:
        return workload.count(self.deployment, "replicas")

    @property
    def ready(self) -> int:
        return workload.count(self.deployment, "readyReplicas")

    @property
    def rolled_out(self) -> bool:
        return workload.rolled_out(self.deployment)

    @property
    def overdue(self) -> str | None:
        """The Deployment controller's words once the progress deadline has passed."""
        for condition in self.deployment.get("status", {}).get("conditions", []) if self.deployment else []:
            if condition["type"] == "Progressing" and condition.get("reason") == "ProgressDeadlineExceeded":
                return str(condition.get("message", ""))
        return None

    @property
    def preparing(self) -> bool:
        return any(is_preparing(pod) for pod in self.pods)


def observe_revisions(s: ModelSnapshot) -> dict[str, Revision]:
    """Every revision that has a record or a Deployment, and the one that the spec asks for."""
    target = revision_of(s.model.spec.model)
    found = {target} | {
        child["metadata"]["labels"].get(names.REVISION, "")
        for resource in (CONFIG_MAP, DEPLOYMENT)
        for child in s.children.of(resource)
    }
    found.discard("")
    return {name: _revision(s, name, s.model.spec.model if name == target else None) for name in sorted(found)}


def served_revision(s: ModelSnapshot) -> str | None:
    """The revision that the live stable Service selects."""
    live = s.children.get(SERVICE, names.embed(s.model.metadata.name))
    return live["spec"].get("selector", {}).get(names.REVISION) if live else None


def choose_serving(s: ModelSnapshot, revisions: dict[str, Revision], target: str) -> str:
    """The stable Service follows the newest ready revision, stays until that can carry the load, and never goes back.

    Going back on its own would answer with another vector space: only the spec does that.
    """
    live = served_revision(s)
    current = revisions.get(live) if live else None
    if current is None:
        ready = sorted(revisions.values(), key=lambda r: (r.name == target, r.ready), reverse=True)
        return next((revision.name for revision in ready if revision.ready), target)
    newest = revisions[target]
    if current is newest or newest.ready >= _enough(s.model, current):
        return target
    return current.name


def intended_replicas(model: EmbeddingModel, load: int) -> int:
    """Pods that a revision needs before it takes requests: the spec's, or with autoscaling as many as carry the load now."""
    scaling = model.spec.autoscaling
    return min(max(load, scaling.min_replicas), scaling.max_replicas) if scaling else model.spec.replicas


def _enough(model: EmbeddingModel, current: Revision) -> int:
    """Measured by what is intended and by what serves, never by what the new Deployment happens to be scaled to."""
    intended = intended_replicas(model, current.wanted)
    return 0 if intended == 0 else max(1, min(intended, current.ready))


def _revision(s: ModelSnapshot, name: str, model: Model | None) -> Revision:
    child = names.embed_revision(s.model.metadata.name, name)
    record = s.children.get(CONFIG_MAP, child)
    data = record.get("data", {}) if record else {}
    pods = tuple(pod for pod in s.pods if pod["metadata"].get("labels", {}).get(names.REVISION) == name)
    speaker = spokesman(pods)
    info = s.infos.get(speaker["metadata"]["uid"]) if speaker else None
    reports = [report for pod in pods if (report := report_of(pod)) and report.fingerprint]
    said = info or (reports[0] if reports else None)
    fingerprint = data.get(embed_pod.FINGERPRINT_KEY) or (said.fingerprint if said else None)
    return Revision(
        name=name,
        model=model or recorded(data.get(MODEL_KEY), name),
        fingerprint=fingerprint,
        dimensions=said.dimensions if said else None,
        deployment=s.children.get(DEPLOYMENT, child),
        pods=pods,
        info=info,
        used_by=tuple(sorted(user.name for user in s.users if user.uses(name, ever_prepared=fingerprint is not None))),
        finding=diagnose(pods, embed_pod.devices(s.model)) or _no_pods(s.children.get(DEPLOYMENT, child)),
    )


def _no_pods(deployment: Manifest | None) -> Finding | None:
    """Why the ReplicaSet could not even create pods: a quota, an admission policy."""
    for condition in deployment.get("status", {}).get("conditions", []) if deployment else []:
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            return Finding("NoReadyPods", f"pods can't be created: {condition.get('message', '')}", stalled=False)
    return None


def spokesman(pods: Iterable[Manifest]) -> Manifest | None:
    """The pod that speaks for its revision: the newest that is ready."""
    ready = [pod for pod in pods if is_ready(pod)]
    return max(ready, key=lambda pod: (str(pod["metadata"].get("creationTimestamp")), pod["metadata"]["name"]), default=None)


def recorded(text: str | None, name: str) -> Model | None:
    """The model of a record, unless somebody changed it: its hash is its name."""
    try:
        model = Model.model_validate(json.loads(text or "null"))
    except (ValidationError, json.JSONDecodeError):
        return None
    return model if revision_of(model) == name else None
