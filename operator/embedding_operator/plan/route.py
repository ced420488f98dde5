"""The decision table of a route with one generation: what its shards say in, the next route and commands out.

PROTOCOL of a lone generation. Every decision is a change of the route, written by compare-and-set before anything
follows from it: first which histories are admitted, at which epoch; then the shards are told to open; and when all
are open, that it is so. A shard whose history is not the one on record has lost what it held: it is opened only with a
copy of a follower, or when a person says that the loss is accepted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from embedding_serving.contract.admin import FeedSource, Follow, Message, Mode, Refusal, ShardInfo, Unfence
from embedding_serving.contract.route import GenerationRoute, Phase, Route
from embedding_serving.contract.settings import FRAME_PORT

from ..resources import Manifest

OURS = frozenset({Phase.STABLE, Phase.REOPENING})
"""Phases that this version acts in; the others are of one that rebuilds."""


class Standing(StrEnum):
    """What a shard's writer is to the route."""

    OPEN = "Open"
    CLOSED = "Closed"
    """It has the history on record and is to be opened."""
    NEW = "New"
    """None is on record: it was never opened by this route."""
    SILENT = "Silent"
    """It does not answer, or is loading and does not know its history yet."""
    COPYING = "Copying"
    """It lost its volume and reads what a follower has."""
    COPIED = "Copied"
    FORGOTTEN = "Forgotten"
    """It is open under a history that the route does not know: the route was lost or put back, not the shard."""
    LOST = "Lost"
    """It lost its volume, and no follower has a copy: a person must say what is to be done."""
    ACCEPTED = "Accepted"
    """A person said so."""
    FOREIGN = "Foreign"
    """It holds another generation or vector space than the route says."""
    CORRUPT = "Corrupt"


ADMITTED = frozenset({Standing.COPIED, Standing.FORGOTTEN, Standing.ACCEPTED})
"""With another history than the one on record: at a higher epoch."""


@dataclass(frozen=True)
class Copy:
    """A pod of a shard and what it says."""

    pod: Manifest
    info: ShardInfo

    @property
    def name(self) -> str:
        return str(self.pod["metadata"]["name"])

    def address(self, host: str) -> str:
        """Of its frame server, by a name that outlives the pod; `host` is the shard's Service."""
        return f"{self.name}.{host}:{FRAME_PORT}"


@dataclass(frozen=True)
class Shard:
    """The copies of one shard that answer. `name` is its StatefulSet's.

    silent: followers that should be there and do not answer. One of them may hold what the others lack.
    """

    number: int
    name: str
    writer: Copy | None
    followers: tuple[Copy, ...] = ()
    silent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Assessment:
    shard: Shard
    standing: Standing
    command: Message | None = None
    """What its writer is to be told, in this phase or in the next one."""
    copied: tuple[int, int] = (0, 0)
    """Of a copy: rows read, and rows to read."""
    behind: int = 0
    """Changes that the lost writer had and the copied follower has not."""


@dataclass(frozen=True)
class Decision:
    """`route` differs from the live one where it must be written. Commands belong to the route as it is."""

    route: Route
    assessments: tuple[Assessment, ...]
    commands: tuple[tuple[Copy, Message], ...] = ()
    consumes_acceptance: bool = False


def decide(route: Route, shards: Iterable[Shard], *, loss_accepted: bool) -> Decision:
    """The next step of a route with a lone generation."""
    generation = route.active
    found = tuple(assess(shard, generation, route.epoch, loss_accepted=loss_accepted) for shard in shards)
    if route.phase not in OURS or route.other is not None:
        return Decision(route, found)
    copying = tuple((one.shard.writer, one.command) for one in found if one.standing is Standing.COPYING)
    told = tuple((copy, message) for copy, message in copying if copy and message)
    highest = max((one.shard.writer.info.epoch for one in found if one.shard.writer and _ours(one)), default=0)
    admitted = _admitted(found)
    if admitted or highest > route.epoch:
        return _reopen(route, found, admitted, highest)
    closed = [one for one in found if one.standing is Standing.CLOSED]
    if closed and (route.phase is Phase.STABLE or any(_fenced_at(one, route.epoch) for one in closed)):
        return Decision(_next(route, epoch=route.epoch + 1, phase=Phase.REOPENING), found)
    if route.phase is Phase.REOPENING and all(one.standing is Standing.OPEN for one in found):
        return Decision(_next(route, phase=Phase.STABLE), found)
    opened = tuple((one.shard.writer, one.command) for one in closed)
    return Decision(route, found, told + tuple((copy, message) for copy, message in opened if copy and message))


def assess(shard: Shard, generation: GenerationRoute, epoch: int, *, loss_accepted: bool) -> Assessment:
    """What one shard is to the route, and the command that would bring it on."""
    if shard.writer is None:
        return Assessment(shard, Standing.SILENT)
    info = shard.writer.info
    if not info.history and info.fault != Refusal.CORRUPT:
        return Assessment(shard, Standing.SILENT)
    if (info.generation, info.shard, info.shards, info.fingerprint) != (
        generation.generation,
        shard.number,
        generation.shards,
        generation.fingerprint,
    ):
        return Assessment(shard, Standing.FOREIGN)
    if info.fault == Refusal.CORRUPT:
        return Assessment(shard, Standing.CORRUPT)
    recorded = generation.histories[shard.number] if generation.histories else ""
    if not recorded:
        return Assessment(shard, Standing.NEW)
    if info.history == recorded:
        if info.mode is Mode.OPEN and info.epoch == epoch:
            return Assessment(shard, Standing.OPEN)
        return Assessment(shard, Standing.CLOSED, Unfence(epoch=epoch, history=info.history))
    if info.mode is Mode.OPEN:
        return Assessment(shard, Standing.FORGOTTEN)
    return _lost(shard, info, recorded, generation.hosts[shard.number], epoch, loss_accepted=loss_accepted)


def _lost(shard: Shard, info: ShardInfo, recorded: str, host: str, epoch: int, *, loss_accepted: bool) -> Assessment:
    best = max(
        (_holding(copy, recorded) for copy in shard.followers),
        key=lambda held: (held.cursor, held.copy.info.position),
        default=None,
    )
    waits = bool(shard.silent) and not loss_accepted
    if best is None or waits or not best.usable(loss_accepted=loss_accepted):
        return Assessment(shard, Standing.ACCEPTED if loss_accepted else Standing.LOST, behind=best.behind or 0 if best else 0)
    source = best.copy.info
    read = next((one for one in info.sources if one.history == source.history), None)
    copied = (read.cursor if read else 0, source.position)
    behind = best.behind or 0
    if read and read.cursor >= source.position:
        return Assessment(shard, Standing.COPIED, copied=copied, behind=behind)
    feed = FeedSource(shard=shard.number, history=source.history, host=best.copy.address(host), with_vectors=True)
    command = None if read else Follow(epoch=epoch, history=info.history, sources=(feed,))
    return Assessment(shard, Standing.COPYING, command, copied, behind)


@dataclass(frozen=True)
class _Held:
    """What a follower has of the history on record. `behind` is None where it has not asked since it started."""

    copy: Copy
    cursor: int
    behind: int | None

    def usable(self, *, loss_accepted: bool) -> bool:
        """A copy that is known to lack changes is for a person to accept; one that has nothing is none."""
        if self.behind == 0:
            return self.cursor >= 0
        return self.cursor > 0 and (self.behind is None or loss_accepted)


def _holding(copy: Copy, recorded: str) -> _Held:
    for source in copy.info.sources:
        if source.history == recorded:
            return _Held(copy, source.cursor, source.behind)
    return _Held(copy, -1, None)


def _fenced_at(one: Assessment, epoch: int) -> bool:
    """A fence ends at a higher epoch only."""
    info = one.shard.writer.info if one.shard.writer else None
    return info is not None and info.mode is Mode.FENCED and info.epoch == epoch


def _ours(one: Assessment) -> bool:
    return one.standing not in (Standing.FOREIGN, Standing.CORRUPT)


def _admitted(found: tuple[Assessment, ...]) -> dict[int, Assessment]:
    """Shards whose history goes on record now. The first time it is all of them together."""
    admitted = {one.shard.number: one for one in found if one.standing in ADMITTED}
    new = {one.shard.number: one for one in found if one.standing is Standing.NEW}
    all_answer = all(one.standing not in (Standing.SILENT, Standing.FOREIGN, Standing.CORRUPT) for one in found)
    return admitted | (new if all_answer else {})


def _reopen(route: Route, found: tuple[Assessment, ...], admitted: dict[int, Assessment], highest: int) -> Decision:
    """A quarantined shard is opened at a higher epoch than it, or any other, has seen."""
    generation = route.active
    histories = list(generation.histories or ("",) * generation.shards)
    for number, one in admitted.items():
        if one.shard.writer:
            histories[number] = one.shard.writer.info.history
    first = highest < route.epoch and route.phase is Phase.REOPENING and not set(histories_of(generation))
    epoch = route.epoch if first else max(route.epoch, highest) + 1
    changed = generation.model_copy(update={"histories": tuple(histories)})
    accepted = any(
        one.standing is Standing.ACCEPTED or (one.standing is Standing.COPIED and one.behind) for one in admitted.values()
    )
    wanted = _next(route, epoch=epoch, phase=Phase.REOPENING, generations=(changed,))
    return Decision(wanted, found, consumes_acceptance=accepted)


def histories_of(generation: GenerationRoute) -> tuple[str, ...]:
    """Histories on record, without those that are not yet."""
    return tuple(history for history in generation.histories if history)


def _next(route: Route, **changes: object) -> Route:
    return route.model_copy(update={"seq": route.seq + 1, **changes})
