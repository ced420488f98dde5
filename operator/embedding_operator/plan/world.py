"""One look at a route and its shards, and what can be decided upon it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from embedding_serving.contract.admin import Message
from embedding_serving.contract.route import GenerationRoute, Phase, Rebuild, Route

from .following import Feeds, Reader
from .standing import Assessment, Copy, Shard, Standing
from .wish import Wish

STEADY = frozenset({Phase.STABLE, Phase.BUILDING, Phase.OBSERVING, Phase.COLLECTING})
"""Phases in which the writer's shards are to be open."""
SWITCHING = frozenset({Phase.FENCING, Phase.COMMITTED, Phase.REOPENING})
"""Phases in which writes wait: nothing else is begun, and they are looked at without a pause."""

Command = tuple[Copy, Message]


@dataclass(frozen=True)
class Decision:
    """`route` differs from the live one where it must be written. Commands belong to the route as it is.

    assessments: of the shards of the generation that takes writes. waits: what the phase waits for, in words.
    """

    route: Route
    assessments: tuple[Assessment, ...]
    commands: tuple[Command, ...] = ()
    consumes_acceptance: bool = False
    waits: str = ""
    behind: int | None = None
    """Changes that the generation being built has still to take; None while that is not known."""
    wants_gate: bool = False
    notes: tuple[str, ...] = ()
    """What people are told of what they asked for."""


@dataclass(frozen=True)
class World:
    """One look: the route, its shards by generation, and the wish."""

    route: Route
    shards: Mapping[int, tuple[Shard, ...]]
    wish: Wish
    found: tuple[Assessment, ...]

    @property
    def writer(self) -> GenerationRoute:
        return self.route.active

    @property
    def other(self) -> GenerationRoute:
        """Raises KeyError where the route names no other generation."""
        return self.route.generation(self.route.other or 0)

    @property
    def rebuild(self) -> Rebuild:
        return self.route.rebuild or Rebuild(id="", generation=self.route.other or self.route.writer, input_hash="")

    @property
    def readers(self) -> tuple[Reader, ...]:
        """The shards of the other generation."""
        return self.readers_of(self.other)

    @property
    def writers(self) -> tuple[Shard, ...]:
        return self.shards.get(self.writer.generation, ())

    def readers_of(self, generation: GenerationRoute) -> tuple[Reader, ...]:
        """The shards of a generation that takes no writes."""
        return tuple(Reader(shard, generation) for shard in self.shards.get(generation.generation, ()))

    @property
    def feeds(self) -> Feeds:
        """What the other generation reads. A generation that was switched away from goes on from where it was left."""
        leased = frozenset((source.shard, source.history) for source in self.route.sources)
        return Feeds(
            self.writer,
            self.writer.histories,
            self.route.targets,
            self.rebuild.id,
            leased,
            self.wish.encoder,
            self.route.donor,
        )

    @property
    def not_all_open(self) -> str:
        """Which shards take no writes that should, in words."""
        closed = [one.shard.name for one in self.found if one.standing is not Standing.OPEN]
        return f"{', '.join(closed)} does not take writes" if closed else ""

    def acted(self, name: str) -> dict[str, str]:
        """What the route is to have on record of annotations once it has acted upon this one."""
        return self.route.acted | {name: self.wish.said.get(name, "")}

    def decided(self, **changes: object) -> Decision:
        return Decision(successor(self.route, **changes), self.found)

    def stays(self, commands: Iterable[Command] = (), waits: str = "", **more: object) -> Decision:
        return Decision(self.route, self.found, tuple(commands), waits=waits, **more)  # type: ignore[arg-type]

    def on_record(self, **changes: object) -> Rebuild:
        return self.rebuild.model_copy(update=changes)


def moment(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def successor(route: Route, **changes: object) -> Route:
    return route.model_copy(update={"seq": route.seq + 1, **changes})
