"""Carries out the steps of a plan, in order; what one object refuses does not stop the others."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from .kube import Conflict, Fenced, Kube, KubeError
from .observe import controlled_by
from .plan.model import Delete, Ensure, Scale, Step
from .resources import Resource

REFUSED = frozenset({403, 413, 422})
"""Answers that say no to this object: the same call again gets the same answer."""


@dataclass
class Outcome:
    strangers: set[tuple[Resource, str]] = field(default_factory=set)
    """Names of children that somebody else's objects have."""
    failures: list[str] = field(default_factory=list)
    """Writes that were refused, in words."""


async def apply(kube: Kube, namespace: str, owner_uid: str, steps: Iterable[Step]) -> Outcome:
    """Raises KubeError where the API server is away, and Fenced where this process must not write any more."""
    outcome = Outcome()
    for step in steps:
        try:
            await _step(kube, namespace, owner_uid, step, outcome)
        except Fenced:
            raise
        except KubeError as error:
            if error.status not in REFUSED:
                raise
            outcome.failures.append(f"{step.resource.kind} {step.name}: {error.message}")
    return outcome


async def _step(kube: Kube, namespace: str, owner_uid: str, step: Step, outcome: Outcome) -> None:
    match step:
        case Ensure(resource, manifest, None):
            await _create(kube, namespace, owner_uid, resource, step, outcome)
        case Ensure(resource, manifest, str(uid)):
            await kube.apply(resource, manifest, uid)
        case Scale(resource, name, replicas):
            if (resource, name) not in outcome.strangers:
                await kube.scale(resource, namespace, name, replicas)
        case Delete(resource, name, uid):
            await kube.delete(resource, namespace, name, uid)


async def _create(kube: Kube, namespace: str, owner_uid: str, resource: Resource, step: Ensure, outcome: Outcome) -> None:
    """Looks first: an object of ours may have lost its labels, and a stranger's must not be written to."""
    live = await kube.get(resource, namespace, step.name)
    if live is None:
        try:
            await kube.create(resource, step.manifest)
            return
        except Conflict:
            live = await kube.get(resource, namespace, step.name)
            if live is None:
                raise
    if controlled_by(live, owner_uid):
        await kube.apply(resource, step.manifest, live["metadata"]["uid"])
    else:
        outcome.strangers.add((resource, step.name))
