"""What the spec and people ask of a route at one moment, apart from what its shards say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from embedding_serving.contract.route import GenerationRoute, Timetable, Verdict

from ..build.names import digest
from .diagnosis import Finding


@dataclass(frozen=True)
class Inputs:
    """What a generation is made from: another value of it takes another generation.

    storage_class: None = any. token: of the annotation that asked for it; empty = none did. due: the time of the schedule
    that asks for one more, whatever stands.
    """

    fingerprint: str
    shards: int
    storage_class: str | None = None
    token: str = ""
    due: str = ""

    @property
    def hash(self) -> str:
        return digest([self.fingerprint, self.shards, self.storage_class, self.token, *([self.due] if self.due else [])])[:16]

    def met_by(self, generation: GenerationRoute) -> bool:
        return (
            self.fingerprint == generation.fingerprint
            and self.shards == generation.shards
            and self.storage_class in (None, generation.storage_class)
            and self.token in ("", generation.token)
            and not self.due
        )


def inputs_of(generation: GenerationRoute) -> Inputs:
    """What a generation was made from."""
    return Inputs(generation.fingerprint, generation.shards, generation.storage_class, generation.token)


@dataclass(frozen=True)
class Promotion:
    """When a generation that passed the gate is switched to, and what share of the reads it answers before that.

    canary: percent of the reads and how long, in seconds; None = until a person promotes.
    """

    enabled: bool = True
    after: timedelta | None = None
    canary: tuple[tuple[int, float | None], ...] = ()


@dataclass(frozen=True)
class Wish:
    """inputs: None while it is not known what the spec asks for, because its model can't tell yet."""

    now: datetime
    inputs: Inputs | None = None
    draft: GenerationRoute | None = None
    """The next generation as it would be built now."""
    timetable: Timetable | None = None
    """Of the schedule in the spec, as it is to be on record."""
    causes: tuple[str, ...] = ()
    rebuild_id: str = ""
    """Of the rebuild that would begin now."""
    hold: Finding | None = None
    """Why none may begin now."""
    gate: Verdict | None = None
    """What the gate found, once it has."""
    promotion: Promotion = Promotion()
    fence_timeout: timedelta = timedelta(seconds=10)
    rollback_window: timedelta = timedelta(days=1)
    max_parallel_shards: int | None = None
    pace: float | None = None
    """Rows a second that each shard may embed; None = all that the encoders take."""
    encoder: str | None = None
    """What embeds for the generation that is built; None = what serves its model."""
    said: Mapping[str, str] = field(default_factory=dict)
    """Annotations that name a generation, as they stand."""
    unheeded: Mapping[str, str] = field(default_factory=dict)
    """Those that ask for what can't be done any more, and why; empty where it was done."""
    promote: bool = False
    abort: bool = False
    rollback: bool = False
    retry: bool = False
    unheard: tuple[str, ...] = ()
    """Services of which a gateway asks another generation than the one that takes writes."""
    leaving: bool = False
    """Whoever decides is about to end: no fence goes up."""
    loss_accepted: bool = False
    cramped: bool = False
    """The generation that is built has not come up in time: what stands beside it may have the room that it needs."""
    leftovers: frozenset[int] = frozenset()
    """Generations of which an object or a volume still stands."""
    running: dict[int, frozenset[str]] = field(default_factory=dict)
    """Names of the pods that run, by generation."""
