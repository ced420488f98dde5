"""The route of a VectorIndex: which generation takes writes, which answer reads. One record, one commit point.

The ConfigMap `<index>-route` holds it as JSON under ROUTE_KEY. Only the operator writes it, by compare-and-set on
resourceVersion; gateways mount it and are told of a newer one at once. Every decision of a rebuild is a change of it.
"""

from enum import StrEnum

from pydantic import Field

from .index import Distance
from .model import Frozen

ROUTE_KEY = "route.json"


class Phase(StrEnum):
    STABLE = "Stable"
    BUILDING = "Building"
    FENCING = "Fencing"
    COMMITTED = "Committed"
    OBSERVING = "Observing"
    REOPENING = "Reopening"
    """Aborting, or admitting shards of the writer generation that were found closed: epoch + 1, then unfence all."""
    COLLECTING = "Collecting"
    """The other generation goes, objects and volumes."""


class Verdict(Frozen):
    """What the gate before promotion found. Shares are from 0 to 1; what was not checked is absent."""

    passed: bool
    recall: float | None = None
    overlap: float | None = None
    golden_hit: float | None = None
    latency_increase_percent: float | None = None
    message: str = ""


class Rebuild(Frozen):
    """What is known of a rebuild that pods do not know: on record with the decisions that follow from it.

    `input_hash` names what `generation` is built from. Times are RFC 3339, empty where it did not happen yet.
    """

    id: str
    generation: int = Field(description="The one that is built, or was; the other one of the route is what it replaces.")
    input_hash: str
    causes: tuple[str, ...] = ()
    started: str = ""
    verdict: Verdict | None = None
    verified: str = ""
    canary_step: int = Field(default=0, description="Steps of spec.rebuild.canary that were entered.")
    canary_since: str = ""
    fenced: str = Field(default="", description="When the fence of this epoch was decided upon.")
    retired: bool = Field(default=False, description="Committed, and no pod of the former writer answers any more.")
    attempts: int = Field(default=0, description="Fences that were called off since the last one that held.")


class TurnedDown(StrEnum):
    """Why nothing is built from certain inputs."""

    GATE_REFUSED = "GateRefused"
    ABORTED = "Aborted"
    ROLLED_BACK = "RolledBack"
    DIGESTS_DIFFER = "DigestsDiffer"


class Refused(Frozen):
    """Inputs that nothing is built from until they change or a retry is asked for."""

    input_hash: str
    generation: int
    reason: TurnedDown
    message: str = ""


class ShardPosition(Frozen):
    """A position in the feed of one shard, under the history that it belongs to."""

    shard: int
    history: str
    position: int


class Timetable(Frozen):
    """A schedule of rebuilds: cron expression and zone as the spec has them. after: times up to then have been counted."""

    schedule: str
    zone: str
    after: str


class GenerationRoute(Frozen):
    """One generation. `hosts[i]` is the DNS name of shard i's headless Service: its records are the pods.

    `histories[i]` is the history that shard i was last admitted with; empty until it was. `encoder` is the base URL of
    the revision's headless Service, or absent where clients bring the vectors.
    """

    generation: int = Field(ge=1)
    hosts: tuple[str, ...] = Field(min_length=1)
    histories: tuple[str, ...] = ()
    fingerprint: str
    dimensions: int = Field(ge=1)
    distance: Distance = Distance.COSINE
    model: str | None = None
    revision: str | None = None
    encoder: str | None = None
    storage_class: str | None = None
    token: str = Field(default="", description="Value of the `rebuild` annotation that it was made for.")

    @property
    def shards(self) -> int:
        return len(self.hosts)


class Route(Frozen):
    """seq counts changes, from the time at which the route was made; a receiver takes only a higher one. epoch numbers who
    may take writes.
    """

    index: str
    namespace: str
    seq: int = Field(ge=1)
    epoch: int = Field(ge=1)
    phase: Phase
    writer: int
    other: int | None = None
    weights: dict[int, int] = Field(description="Share of reads in percent for each generation that answers them.")
    next_generation: int
    generations: tuple[GenerationRoute, ...] = Field(min_length=1)
    resume: Phase = Field(default=Phase.STABLE, description="In Reopening: the phase that follows.")
    rebuild: Rebuild | None = None
    refused: Refused | None = None
    acted: dict[str, str] = Field(
        default={}, description="Annotations that would ask for the same again, by name: the value that was acted upon."
    )
    timetable: Timetable | None = None
    donor: GenerationRoute | None = Field(
        default=None,
        description="Given up before it ever took a write, with vectors of the space of what is built next: read for those "
        "alone, never for documents. It takes nothing more, and no gateway asks it.",
    )
    sources: tuple[ShardPosition, ...] = ()
    targets: tuple[ShardPosition, ...] = ()
    since: str = Field(default="", description="When the writer became active, RFC 3339.")

    def generation(self, number: int) -> GenerationRoute:
        """Raises KeyError where the route does not name it."""
        for one in self.generations:
            if one.generation == number:
                return one
        raise KeyError(number)

    @property
    def standing(self) -> tuple[GenerationRoute, ...]:
        """All whose shards are to be there."""
        return self.generations if self.donor is None else (*self.generations, self.donor)

    @property
    def active(self) -> GenerationRoute:
        """The generation that takes writes."""
        return self.generation(self.writer)


def client_fingerprint(dimensions: int, distance: Distance) -> str:
    """Vector space of an index whose vectors clients bring: all that is known of it."""
    return f"client-{dimensions}-{distance.lower()}"
