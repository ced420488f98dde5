"""Which shard of one generation reads which shards of the other, and how far it has come."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from embedding_serving.contract.admin import FeedSource, Follow, Mode, Prepare, ShardInfo, reverse_consumer
from embedding_serving.contract.index import ring_range
from embedding_serving.contract.route import GenerationRoute, ShardPosition
from embedding_serving.contract.settings import FRAME_PORT

from .standing import Copy, Shard

DIGEST_MODULUS = 1 << 128
MOST_BEHIND = 200
"""Changes, per shard, that may be left to drain when the fence goes up."""


@dataclass(frozen=True)
class Reader:
    """A shard that reads, as far as it answers: the writer of a generation that takes no writes."""

    shard: Shard
    generation: GenerationRoute

    @property
    def copy(self) -> Copy | None:
        """None while it does not answer, does not know its history yet, or is another shard than the route says."""
        copy = self.shard.writer
        if copy is None or not copy.info.history:
            return None
        said = copy.info
        mine = (self.generation.generation, self.shard.number, self.generation.shards, self.generation.fingerprint)
        return copy if (said.generation, said.shard, said.shards, said.fingerprint) == mine else None

    @property
    def info(self) -> ShardInfo | None:
        return self.copy.info if self.copy else None


@dataclass(frozen=True)
class Feeds:
    """The feeds of a generation that takes writes: histories and hosts of its shards.

    starts: where a reader of known history begins that has a lease there already, by the readers' shards' histories.
    """

    generation: GenerationRoute
    histories: Sequence[str]
    starts: Sequence[ShardPosition] = ()
    lease_nonce: str = ""
    leased: frozenset[tuple[int, str]] = frozenset()
    """(shard, history) of the readers for whom leases were opened."""
    encoder: str | None = None
    """What embeds for the readers, where it is not what serves their model."""
    donor: GenerationRoute | None = None
    """What has vectors of the readers' space."""

    def of(self, reader: Reader) -> tuple[FeedSource, ...]:
        """What this reader pulls: every shard whose part of the ring meets its own."""
        mine, info = reader.generation, reader.info
        if info is None or len(self.histories) < self.generation.shards:
            return ()
        lower, upper = ring_range(reader.shard.number, mine.shards)
        same_space = mine.fingerprint == self.generation.fingerprint
        donor = None if same_space else self.donor
        leased = (reader.shard.number, info.history) in self.leased
        begins = {(start.shard, start.history): start.position for start in self.starts}
        found = []
        for number in overlapping(reader.shard.number, mine.shards, self.generation.shards):
            history = self.histories[number]
            start = begins.get((number, history)) if leased else None
            found.append(
                FeedSource(
                    shard=number,
                    history=history,
                    host=address(self.generation, number),
                    lower=lower,
                    upper=upper,
                    with_vectors=same_space,
                    encoder=None if same_space else self.encoder or mine.encoder,
                    donors=tuple(address(donor, one) for one in range(donor.shards)) if donor else (),
                    position=start or 0,
                    consumer=None if start is None else reverse_consumer(reader.shard.number),
                    nonce=None if start is None else self.lease_nonce,
                )
            )
        return tuple(found)

    def follow(self, reader: Reader, epoch: int, rebuild_id: str) -> tuple[Copy, Follow] | None:
        """What the reader is told so that it reads these feeds; None where it does, or where it can't be told."""
        copy = reader.copy
        known_all = len(self.histories) == self.generation.shards and all(self.histories)
        if copy is None or copy.info.mode is Mode.OPEN or copy.info.epoch > epoch or not known_all:
            return None
        wanted = self.of(reader)
        known = {(one.shard, one.history, one.host, one.encoder, one.donors) for one in copy.info.sources}
        asked = {(feed.shard, feed.history, feed.host, feed.encoder, feed.donors) for feed in wanted}
        if copy.info.epoch == epoch and known == asked:
            return None
        return copy, Follow(epoch=epoch, history=copy.info.history, rebuild_id=rebuild_id, sources=wanted)


def overlapping(shard: int, of: int, others: int) -> Iterable[int]:
    """Numbers of the shards, of `others` in all, that own a part of what this shard of `of` owns."""
    return range(shard * others // of, -(-(shard + 1) * others // of))


def address(generation: GenerationRoute, number: int) -> str:
    """Of the frame server of a shard's writer, by a name that outlives the pod; a host is the shard's Service."""
    host = generation.hosts[number]
    return f"{host.partition('.')[0]}-0.{host}:{FRAME_PORT}"


def behind(reader: Reader, feeds: Feeds) -> int | None:
    """Changes that the reader has not taken yet, over all its feeds; None while it has not asked for all of them."""
    if reader.info is None:
        return None
    known = {(source.shard, source.history): source for source in reader.info.sources}
    wanted, total = feeds.of(reader), 0
    if not wanted:
        return None
    for feed in wanted:
        source = known.get((feed.shard, feed.history))
        if source is None or source.behind is None:
            return None
        total += source.behind
    return total


def reached(reader: Reader, fences: Mapping[int, ShardPosition], of: int) -> bool:
    """Whether the reader has taken everything below the fences of its feeds."""
    if reader.info is None:
        return False
    cursors = {(source.shard, source.history): source.cursor for source in reader.info.sources}
    wanted = wanted_positions(reader, fences, of)
    return all(cursors.get((one.shard, one.history), -1) >= one.position for one in wanted)


def wanted_positions(reader: Reader, fences: Mapping[int, ShardPosition], of: int) -> tuple[ShardPosition, ...]:
    return tuple(fences[number] for number in overlapping(reader.shard.number, reader.generation.shards, of))


def prepare(
    reader: Reader, fences: Mapping[int, ShardPosition], of: int, epoch: int, rebuild_id: str, digest: str | None
) -> tuple[Copy, Prepare] | None:
    """Freezes a reader that has everything; None where it has not, or is frozen already."""
    copy = reader.copy
    if copy is None or copy.info.epoch != epoch or copy.info.prepared == epoch or copy.info.mode is Mode.OPEN:
        return None
    if not reached(reader, fences, of):
        return None
    sources = wanted_positions(reader, fences, of)
    message = Prepare(epoch=epoch, history=copy.info.history, rebuild_id=rebuild_id, sources=sources, digest=digest)
    return copy, message


def digests_agree(writers: Iterable[ShardInfo], readers: Iterable[ShardInfo]) -> bool:
    """Digests are sums over live documents, so they compare whatever the number of shards."""
    return _sum(writers) == _sum(readers)


def _sum(infos: Iterable[ShardInfo]) -> int:
    return sum(int(info.digest or "0", 16) for info in infos) % DIGEST_MODULUS
