"""What a plan is made of: steps for the API server, a status, events, and when to look again."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embedding_serving.contract.admin import Message
from embedding_serving.contract.route import Route

from ..resources import POD, Manifest, Resource
from ..status import EventIntent
from .measures import RebuildNumbers, Turn


@dataclass(frozen=True)
class Ensure:
    """Create the object, or bring the live one of ours to the intent: by apply, or whole where apply can't mend it."""

    resource: Resource
    manifest: Manifest
    live: Manifest | None = None
    replace: bool = False

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True)
class Scale:
    resource: Resource
    name: str
    replicas: int


@dataclass(frozen=True)
class Delete:
    resource: Resource
    name: str
    uid: str


@dataclass(frozen=True)
class Swap:
    """Writes an object that has no owner by compare-and-set: POST where its manifest has no resourceVersion, else PUT."""

    resource: Resource
    manifest: Manifest

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])


@dataclass(frozen=True)
class Tell:
    """A command for a shard."""

    pod: Manifest
    message: Message

    @property
    def resource(self) -> Resource:
        return POD

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])


@dataclass(frozen=True)
class Push:
    """A route for a gateway that has an older one."""

    pod: Manifest
    route: Route

    @property
    def resource(self) -> Resource:
        return POD

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])


Step = Ensure | Scale | Delete | Swap | Tell | Push


@dataclass(frozen=True)
class Plan:
    """Steps in order. `status` is None where the status already says it, and a whole status otherwise."""

    steps: tuple[Step, ...] = ()
    status: Mapping[str, Any] | None = None
    events: tuple[EventIntent, ...] = ()
    requeue_after_seconds: float | None = None
    poll_after_seconds: float | None = None
    """When to look again though nothing is expected to change: for what pods measure. It may be put off."""
    rebuild: RebuildNumbers | None = None
    turn: Turn = field(default_factory=Turn)
    """What the decision among the steps means for metrics."""


@dataclass(frozen=True)
class Children:
    """Live objects that carry the owner's label and its controller reference, by resource and name."""

    objects: Mapping[tuple[Resource, str], Manifest] = field(default_factory=dict)

    def get(self, resource: Resource, name: str) -> Manifest | None:
        return self.objects.get((resource, name))

    def of(self, resource: Resource) -> list[Manifest]:
        return [manifest for (kind, _), manifest in self.objects.items() if kind == resource]

    def joined(self, others: "Children") -> "Children":
        return Children({**self.objects, **others.objects})
