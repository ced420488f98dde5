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


class ShardPosition(Frozen):
    """A position in the feed of one shard, under the history that it belongs to."""

    shard: int
    history: str
    position: int


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

    @property
    def shards(self) -> int:
        return len(self.hosts)


class Route(Frozen):
    """seq counts changes; a receiver takes only a higher one. epoch numbers who may take writes."""

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
    rebuild_id: str = ""
    refused_input_hash: str | None = None
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
    def active(self) -> GenerationRoute:
        """The generation that takes writes."""
        return self.generation(self.writer)


def client_fingerprint(dimensions: int, distance: Distance) -> str:
    """Vector space of an index whose vectors clients bring: all that is known of it."""
    return f"client-{dimensions}-{distance.lower()}"
