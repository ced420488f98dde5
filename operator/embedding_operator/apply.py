"""Carries out the steps of a plan, in order; what one object refuses does not stop the others."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import groupby

from .dataplane import DataPlane, PodError
from .kube import Conflict, Fenced, Kube, KubeError
from .observe.eyes import controlled_by
from .plan.diff import identity
from .plan.model import Delete, Ensure, Push, Scale, Step, Swap, Tell
from .resources import PVC, Manifest, Resource

INVALID = 422
PASSING = frozenset({0, 401, 409, 429})
"""No answer, or one that says nothing of this object: the whole look is tried again."""
FINAL = frozenset({400, 403, 413, INVALID})
"""Answers that the same call will get again."""
KEPT = ("replicas", "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort")
"""Members of a spec that the server or an autoscaler decides: a replacement carries them over."""


@dataclass
class Outcome:
    strangers: set[tuple[Resource, str]] = field(default_factory=set)
    """Names of children that somebody else's objects have."""
    going: set[tuple[Resource, str]] = field(default_factory=set)
    """Children that are being deleted: of this owner, or of one that had its name before."""
    adopted: set[tuple[Resource, str]] = field(default_factory=set)
    """Objects of ours that were found by name: what they looked like was not in the snapshot."""
    settled: set[tuple[str, str, str]] = field(default_factory=set)
    """Objects that an apply left as they were."""
    failures: list[str] = field(default_factory=list)
    """Writes and commands that were refused, in words."""
    worth_a_retry: bool = False
    """One of the failures may pass by itself."""
    on_record: bool = False
    """A decision among the steps was written."""


@dataclass(frozen=True)
class Owner:
    kind: str
    namespace: str
    name: str
    uid: str


async def apply(kube: Kube, data_plane: DataPlane, owner: Owner, steps: Iterable[Step]) -> Outcome:
    """Raises Conflict where a compare-and-set came too late: nothing that was decided holds then.

    Raises KubeError where the API server is away, and Fenced where this process must not write any more.
    """
    outcome = Outcome()
    for _, alike in groupby(enumerate(steps), _together):
        if not all(await asyncio.gather(*(_tried(kube, data_plane, owner, step, outcome) for _, step in alike))):
            break
    return outcome


def _together(numbered: tuple[int, Step]) -> object:
    """The same command for several pods is told all of them at once: writes may be waiting. Other steps go one by one."""
    number, step = numbered
    return type(step.message) if isinstance(step, Tell) else number


async def _tried(kube: Kube, data_plane: DataPlane, owner: Owner, step: Step, outcome: Outcome) -> bool:
    """Whether what comes after may be done."""
    try:
        await _step(kube, data_plane, owner, step, outcome)
    except Fenced:
        raise
    except KubeError as error:
        if error.status in PASSING:
            raise
        outcome.failures.append(f"{step.resource.kind} {step.name}: {error.message}")
        outcome.worth_a_retry |= error.status not in FINAL
        return not isinstance(step, Swap)  # what follows from a decision may not be done before that is on record
    except PodError as error:
        outcome.failures.append(f"pod {error.pod} did not do as told: {error}")
        outcome.worth_a_retry = True
    return True


async def _step(kube: Kube, data_plane: DataPlane, owner: Owner, step: Step, outcome: Outcome) -> None:
    match step:
        case Ensure(live=None):
            await _create(kube, owner, step, outcome)
        case Ensure(resource, manifest, dict(live), replace):
            await _bring(kube, resource, manifest, live, outcome, replace=replace)
        case Scale(resource, name, replicas):
            if (resource, name) not in outcome.strangers | outcome.going | outcome.adopted:
                await kube.scale(resource, owner.namespace, name, replicas)
        case Delete(resource, name, uid):
            await kube.delete(resource, owner.namespace, name, uid)
        case Swap(resource, manifest):
            await (kube.put if "resourceVersion" in manifest["metadata"] else kube.post)(resource, manifest)
            outcome.on_record = True
        case Tell(pod, message):
            await data_plane.command(pod, message)
        case Push(pod, route):
            await data_plane.push_route(pod, route)


async def _create(kube: Kube, owner: Owner, step: Ensure, outcome: Outcome) -> None:
    """Looks first: an object of ours may have lost its labels, and a stranger's must not be written to."""
    key = (step.resource, step.name)
    live = await kube.get(step.resource, owner.namespace, step.name)
    if live is None:
        try:
            await kube.create(step.resource, step.manifest)
            return
        except Conflict:
            live = await kube.get(step.resource, owner.namespace, step.name)
            if live is None:
                raise
    if live["metadata"].get("deletionTimestamp") or _of_a_namesake(live, owner):
        outcome.going.add(key)
    elif controlled_by(live, owner.uid):
        outcome.adopted.add(key)
        await _bring(kube, step.resource, step.manifest, live, outcome, replace=False)
    else:
        outcome.strangers.add(key)


async def _bring(
    kube: Kube, resource: Resource, manifest: Manifest, live: Manifest, outcome: Outcome, *, replace: bool
) -> None:
    """Applies; replaces what an apply leaves alone, and what has become invalid together with somebody's edit."""
    if not replace:
        try:
            after = await kube.apply(resource, manifest, live["metadata"]["uid"])
        except KubeError as error:
            if error.status != INVALID or resource == PVC:
                raise
        else:
            if after["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]:
                outcome.settled.add(identity(after, manifest))
            return
    await kube.put(resource, _whole(manifest, live))


def _whole(manifest: Manifest, live: Manifest) -> Manifest:
    """The intent as a complete object in place of the live one."""
    kept = {key: live["spec"][key] for key in KEPT if key in live.get("spec", {})}
    meta = {key: live["metadata"][key] for key in ("uid", "resourceVersion")} | manifest["metadata"]
    whole = manifest | {"metadata": meta}
    return whole | {"spec": kept | manifest["spec"]} if "spec" in manifest else whole


def _of_a_namesake(live: Manifest, owner: Owner) -> bool:
    """The child of an owner that was deleted and made again: garbage collection has not come to it yet."""
    return any(
        reference.get("controller")
        and reference.get("kind") == owner.kind
        and reference.get("name") == owner.name
        and reference.get("uid") != owner.uid
        for reference in live["metadata"].get("ownerReferences", [])
    )
