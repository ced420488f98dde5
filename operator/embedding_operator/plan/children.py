"""From intended children to the steps that bring the live ones there."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..resources import Manifest, Resource
from .diff import drifted, identity, must_be_replaced, stamped
from .model import Delete, Ensure, Step
from .snapshot import Look


@dataclass(frozen=True)
class Intent:
    resource: Resource
    manifest: Manifest


def ensures(s: Look, intents: Iterable[Intent]) -> list[Step]:
    """Makes what is missing and brings back what differs."""
    steps: list[Step] = []
    for intent in intents:
        live = s.children.get(intent.resource, intent.manifest["metadata"]["name"])
        if live is None or live["metadata"].get("deletionTimestamp"):
            steps.append(Ensure(intent.resource, stamped(intent.manifest)))
        else:
            steps += brought(s, intent, live)
    return steps


def brought(s: Look, intent: Intent, live: Manifest) -> list[Step]:
    """Brings a live object to the intent, where it differs."""
    manifest = stamped(intent.manifest)
    foreign = must_be_replaced(intent.resource, manifest, live)
    if (foreign or drifted(manifest, live)) and identity(live, manifest) not in s.settled:
        return [Ensure(intent.resource, manifest, live=live, replace=foreign)]
    return []


def unintended(s: Look, intents: Iterable[Intent], keep: Callable[[Manifest], bool] = lambda _: False) -> list[Step]:
    """Deletes children that nothing intends, but for those to keep."""
    intended = {(intent.resource, intent.manifest["metadata"]["name"]) for intent in intents}
    return [
        Delete(resource, name, live["metadata"]["uid"])
        for (resource, name), live in s.children.objects.items()
        if (resource, name) not in intended and not keep(live) and not live["metadata"].get("deletionTimestamp")
    ]
