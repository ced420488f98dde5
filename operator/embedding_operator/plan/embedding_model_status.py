"""The status of an EmbeddingModel: what serves, what is being rolled out, what blocks, and what to do."""

from dataclasses import dataclass
from typing import Any

from embedding_serving.contract.reports import INFO_PATH
from embedding_serving.contract.settings import ADMIN_PORT, API_PORT

from ..api.embeddingmodel import EmbeddingModelStatus, RevisionState
from ..build import names
from ..resources import Manifest
from ..status import Condition, merge
from .diagnosis import INSUFFICIENT_GPU, Finding
from .estimate import round_off
from .revisions import Revision
from .snapshot import ModelSnapshot
from .workload import scaling_active

CONDITION_TYPES = frozenset({"Ready", "UpToDate", "Reconciling", "Stalled", "ScalingActive"})
MOST_REVISIONS = 64
MOST_USERS = 64
MOST_CHARACTERS = 32_000
"""Bounds of the CRD."""
STATUS_MEMBERS = frozenset(str(field.alias) for field in EmbeddingModelStatus.model_fields.values())


@dataclass(frozen=True)
class Verdict:
    """What the plan found, condensed for the status."""

    target: Revision
    serving: Revision | None
    """What the stable Service selects, or will when the steps are taken; None where there is no such Service of ours."""
    switched: bool
    """The live stable Service selects the target."""
    refusal: Finding | None
    strangers: tuple[str, ...]
    paused: bool
    failures: tuple[str, ...] = ()
    """Writes that the API server refused."""
    pending: bool = False
    """There are steps to take: what was seen is not yet what the spec asks for."""

    @property
    def blocker(self) -> Finding | None:
        """What waiting does not mend."""
        if self.strangers:
            taken = ", ".join(self.strangers)
            return Finding(
                "NameConflict",
                f"{taken} exists already and belongs to somebody else: rename or delete it, or rename this",
            )
        if self.refusal:
            return self.refusal
        if self.target.finding and self.target.finding.stalled and not self.target.rolled_out:
            return self.target.finding
        if self.target.overdue is not None and not self.target.rolled_out:
            why = self.target.finding.message if self.target.finding else self.target.overdue
            return Finding("ProgressDeadlineExceeded", f"no progress within spec.rollout.progressDeadlineSeconds: {why}")
        return None


def conditions(s: ModelSnapshot, v: Verdict) -> list[Condition]:
    ready, up_to_date = _ready(s, v), _up_to_date(s, v)
    decided = [ready, up_to_date]
    settled = up_to_date.status == "True" and (ready.status == "True" or ready.reason == "ScaledToZero")
    if v.blocker and not v.paused:
        decided.append(Condition("Stalled", "True", v.blocker.reason, v.blocker.message))
    elif not settled and not v.paused:
        decided.append(Condition("Reconciling", "True", up_to_date.reason, up_to_date.message))
    scaling = _scaling(s, v)
    return [*decided, scaling] if scaling else decided


def status_of(s: ModelSnapshot, v: Verdict, revisions: list[Revision], decided: list[Condition]) -> Manifest:
    """The whole status, without members that are not known."""
    generation = s.model.metadata.generation
    name, namespace = s.model.metadata.name, s.model.metadata.namespace
    labels = names.model_labels(name)
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "conditions": merge(s.status.get("conditions", []), decided, generation, s.now),
        "progress": _progress(s, v),
        "replicas": sum(revision.replicas for revision in revisions),
        "readyReplicas": sum(revision.ready for revision in revisions),
        "selector": f"{names.COMPONENT}={labels[names.COMPONENT]},{names.INSTANCE}={name}",
        "revisions": [_revision(revision, v) for revision in revisions][:MOST_REVISIONS],
    }
    if v.serving:
        status |= {
            "revision": v.serving.name,
            "fingerprint": v.serving.fingerprint,
            "dimensions": v.serving.dimensions,
            "engine": v.serving.info.engine.value if v.serving.info else None,
            "endpoint": f"http://{names.embed(name)}.{namespace}.svc:{API_PORT}",
        }
    return {key: value for key, value in status.items() if value is not None}


def _ready(s: ModelSnapshot, v: Verdict) -> Condition:
    serving = v.serving
    if serving is None:
        why = v.blocker.message if v.blocker else "; ".join(v.failures)
        missing = f"Service {names.embed(s.model.metadata.name)} does not exist"
        return Condition("Ready", "False", "NoReadyPods", why or missing)
    if serving.ready:
        return Condition(
            "Ready", "True", "Serving", f"{serving.ready} of {serving.wanted} pods of revision {serving.name} serve"
        )
    if s.model.spec.autoscaling is None and s.model.spec.replicas == 0:
        return Condition("Ready", "False", "ScaledToZero", "spec.replicas is 0: raise it to serve")
    blocker = v.blocker or serving.finding
    if blocker:
        reason = "Preparing" if blocker.reason == "Preparing" else "NoReadyPods"
        return Condition("Ready", "False", reason, blocker.message)
    if serving.preparing:
        return Condition("Ready", "False", "Preparing", f"revision {serving.name} fetches and converts the model")
    if serving.pods:
        return Condition("Ready", "False", "Preparing", f"revision {serving.name} loads the model and checks itself")
    return Condition("Ready", "False", "NoReadyPods", f"revision {serving.name} has no pod yet")


def _up_to_date(s: ModelSnapshot, v: Verdict) -> Condition:
    target = v.target
    if v.paused:
        text = f"annotation {names.PAUSED} is true: nothing is touched until it is removed"
        return Condition("UpToDate", "Unknown", "Paused", text)
    if target.finding and target.finding.reason == INSUFFICIENT_GPU:
        return Condition("UpToDate", "False", INSUFFICIENT_GPU, target.finding.message)
    if v.blocker is None and not v.pending and not v.failures and v.switched and target.rolled_out:
        return Condition("UpToDate", "True", "UpToDate", f"revision {target.name} is rolled out")
    text = f"revision {target.name}: {target.ready} of {target.wanted} pods ready"
    if target.deployment is None:
        text = f"revision {target.name} is new"
    blocker = v.blocker or target.finding
    details = [*v.failures, *([blocker.message] if blocker else [])]
    return Condition("UpToDate", "False", "RollingOut", "; ".join([text, *details]))


def _scaling(s: ModelSnapshot, v: Verdict) -> Condition | None:
    """What the HPA says of itself, once it has looked."""
    if v.serving is None or s.model.spec.autoscaling is None:
        return None
    return scaling_active(s.children, names.embed_revision(s.model.metadata.name, v.serving.name))


def _progress(s: ModelSnapshot, v: Verdict) -> str | None:
    if v.paused:
        return "Paused"
    if v.blocker:
        return v.blocker.reason
    if v.switched and v.target.rolled_out and not v.pending:
        return None
    if v.target.finding and v.target.finding.reason == INSUFFICIENT_GPU:
        return "WaitingForGPU"
    if v.target.preparing:
        return "Preparing"
    return f"RollingOut {v.target.ready}/{v.target.wanted}"


def _revision(revision: Revision, v: Verdict) -> Manifest:
    failed = revision is v.target and v.blocker
    if failed:
        state = RevisionState.FAILED
    elif revision is not v.target and (revision is not v.serving or v.switched):
        state = RevisionState.RETAINED
    else:
        state = RevisionState.READY if revision.ready else RevisionState.PREPARING
    message = v.blocker.message if failed and v.blocker else (revision.finding.message if revision.finding else None)
    if message is None and revision.ready and revision.info is None:
        message = f"pods do not answer {INFO_PATH} on port {ADMIN_PORT}: does a network policy keep the operator from them?"
    entry = {
        "name": revision.name,
        "state": state.value,
        "fingerprint": revision.fingerprint,
        "engine": revision.info.engine.value if revision.info else None,
        "selfCheckCosine": f"{revision.info.self_check_cosine:.6f}" if revision.info else None,
        "tokensPerSecond": _speed(revision),
        "replicas": revision.replicas,
        "readyReplicas": revision.ready,
        "usedBy": _shortened(revision.used_by),
        "message": message[:MOST_CHARACTERS] if message else None,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _speed(revision: Revision) -> int | None:
    """To one digit, so that it seldom changes with the pod that says it."""
    speed = revision.info.tokens_per_second if revision.info else None
    return None if speed is None else round_off(speed, digits=1)


def _shortened(users: tuple[str, ...]) -> list[str]:
    if len(users) <= MOST_USERS:
        return list(users)
    shown = users[: MOST_USERS - 1]
    return [*shown, f"and {len(users) - len(shown)} more"]
