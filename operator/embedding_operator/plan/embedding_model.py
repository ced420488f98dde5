"""The plan for an EmbeddingModel: one Deployment a revision, the newest ready one behind the stable Service."""

from embedding_serving.contract.model import EngineName

from ..api.embeddingmodel import Model
from ..build import embedding_model as build
from ..build import names
from ..build.embed_pod import needs_torch
from ..resources import (
    CONFIG_MAP,
    DEPLOYMENT,
    HPA,
    NETWORK_POLICY,
    PDB,
    SERVICE,
    SERVICE_ACCOUNT,
)
from ..status import says, transitions
from .children import Intent, ensures, unintended
from .diagnosis import Finding
from .embedding_model_status import CONDITION_TYPES, STATUS_MEMBERS, Verdict, conditions, status_of
from .model import Plan, Scale, Step
from .revisions import Revision, choose_serving, intended_replicas, observe_revisions, served_revision
from .snapshot import ModelSnapshot

LOOK_BACK_SECONDS = 2.0
"""After writes: what they caused is an event, and if that is missed, this."""


def plan(s: ModelSnapshot) -> Plan:
    """What to do for one EmbeddingModel. Equal snapshots give equal plans; a world as intended gives no step."""
    target = build.revision_of(s.model.spec.model)
    revisions = observe_revisions(s)
    refusal = _refusal(s)
    serving = choose_serving(s, revisions, target)
    steps = () if s.paused or refusal else _steps(s, revisions, target, serving)
    as_it_is = s.paused or refusal or s.strangers or s.failures
    selected = served_revision(s) if as_it_is else serving
    verdict = Verdict(
        target=revisions[target],
        serving=revisions.get(selected) if selected else None,
        switched=served_revision(s) == target,
        refusal=refusal,
        strangers=tuple(sorted(f"{resource.kind} {name}" for resource, name in s.strangers)),
        paused=s.paused,
        failures=s.failures,
        pending=bool(steps),
    )
    decided = conditions(s, verdict)
    status = status_of(s, verdict, list(revisions.values()), decided)
    return Plan(
        steps=steps,
        status=None if says(s.status, status, CONDITION_TYPES, STATUS_MEMBERS) else status,
        events=tuple(transitions(s.status.get("conditions", []), decided)),
        requeue_after_seconds=LOOK_BACK_SECONDS if steps else s.ask_again_seconds,
    )


def _refusal(s: ModelSnapshot) -> Finding | None:
    """Why the spec is not acted upon at all: what stands goes on as it is."""
    if s.model.spec.model.source.open_ai:
        return Finding("UnsupportedModel", "spec.model.source.openAI is not served by this version: choose another source")
    if s.model.spec.runtime.engine is EngineName.TRITON:
        return Finding("UnsupportedModel", "spec.runtime.engine Triton is not served by this version: choose another engine")
    if needs_torch(s.model) and not s.at.serving_torch_image:
        remedy = "set images.servingTorch in the chart's values, or choose spec.runtime.engine ONNXRuntime or OpenVINO"
        return Finding(
            "UnsupportedModel",
            f"this model needs torch and the operator was installed without the torch image: {remedy}",
        )
    return None


def _steps(s: ModelSnapshot, revisions: dict[str, Revision], target: str, serving: str) -> tuple[Step, ...]:
    kept = {target, serving, served_revision(s)} | {name for name, revision in revisions.items() if revision.used_by}
    standing = [revision for name, revision in revisions.items() if name in kept and revision.model]
    intents = _shared(s, [revision.model for revision in standing if revision.model], serving)
    for revision in standing:
        if revision.model:
            intents += _of_revision(s, revision, revision.model, autoscaled=_takes_requests(revision, serving))
    return (*ensures(s, intents), *_scales(s, standing, serving), *_deletes(s, intents, revisions, kept))


def _shared(s: ModelSnapshot, models: list[Model], serving: str) -> list[Intent]:
    return [
        Intent(SERVICE_ACCOUNT, build.service_account(s.model)),
        Intent(NETWORK_POLICY, build.network_policy(s.model, models, s.at)),
        Intent(SERVICE, build.service(s.model, serving)),
    ]


def _of_revision(s: ModelSnapshot, revision: Revision, model: Model, *, autoscaled: bool) -> list[Intent]:
    intents = [
        Intent(CONFIG_MAP, build.record(s.model, model, revision.name, revision.fingerprint)),
        Intent(SERVICE, build.headless_service(s.model, revision.name)),
        Intent(DEPLOYMENT, build.deployment(s.model, model, revision.name, s.at)),
        Intent(PDB, build.disruption_budget(s.model, revision.name)),
    ]
    if s.model.spec.autoscaling and autoscaled:
        intents.append(Intent(HPA, build.autoscaler(s.model, revision.name)))
    return intents


def _scales(s: ModelSnapshot, standing: list[Revision], serving: str) -> list[Step]:
    """Replicas through the scale subresource, where they differ.

    Without autoscaling they are the spec's. With it the HPA sets them, within its bounds, once a revision takes
    requests; until then a new revision is kept as large as the one whose load it will take over.
    """
    steps: list[Step] = []
    load = next((revision.wanted for revision in standing if revision.name == serving), 0)
    for revision in standing:
        live = revision.wanted if revision.deployment else 1
        wanted = _replicas(s, revision, live, load, serving)
        if wanted != live:
            child = names.embed_revision(s.model.metadata.name, revision.name)
            steps.append(Scale(DEPLOYMENT, child, wanted))
    return steps


def _replicas(s: ModelSnapshot, revision: Revision, live: int, load: int, serving: str) -> int:
    scaling = s.model.spec.autoscaling
    if scaling and _takes_requests(revision, serving):
        return max(live, scaling.min_replicas)
    return intended_replicas(s.model, load)


def _takes_requests(revision: Revision, serving: str) -> bool:
    return revision.name == serving or bool(revision.used_by)


def _deletes(s: ModelSnapshot, intents: list[Intent], revisions: dict[str, Revision], kept: set[str | None]) -> list[Step]:
    """Children that nothing intends. A revision whose record is unreadable is left alone while it is kept."""
    untouchable = {name for name in kept if name in revisions and revisions[name].model is None}
    return unintended(s, intents, keep=lambda live: live["metadata"].get("labels", {}).get(names.REVISION) in untouchable)
