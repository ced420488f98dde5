"""What each shard of the generation that takes writes is to its route, by what it says of itself.

A shard whose history is not the one on record has lost what it held: it is opened only with a copy of a follower, or
when a person says that the loss is accepted.
"""

from dataclasses import dataclass
from enum import StrEnum

from embedding_serving.contract.admin import FeedSource, Follow, Message, Mode, Refusal, ShardInfo, Unfence
from embedding_serving.contract.route import GenerationRoute
from embedding_serving.contract.settings import FRAME_PORT

from ..resources import Manifest


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
