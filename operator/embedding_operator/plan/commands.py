"""What shards are told in a phase, and what their answers amount to. All of it can be repeated."""

from embedding_serving.contract.admin import Follow, Message, Mode, Pace, Readmit, Release, Retire, ShardInfo, reverse_consumer
from embedding_serving.contract.route import Phase, ShardPosition

from .following import MOST_BEHIND, behind
from .standing import Copy, Standing
from .world import Command, World


def follows(w: World) -> list[Command]:
    """The shards of the other generation read the writer's feeds; at most so many at a time begin."""
    busy = 0
    found: list[Command] = []
    most = w.wish.max_parallel_shards if w.route.phase is Phase.BUILDING else None
    for reader in w.readers:
        left = behind(reader, w.feeds)
        started = reader.info is not None and bool(reader.info.sources)
        busy += started and (left is None or left > MOST_BEHIND)
        if most is not None and not started and busy >= most:
            continue
        order = w.feeds.follow(reader, w.route.epoch, w.rebuild.id)
        if order:
            found.append(order)
            busy += not started
    return found


def stills(w: World) -> list[Command]:
    """What was given up and gives its vectors on reads nothing more."""
    donor = w.route.donor
    if donor is None:
        return []
    return [
        (reader.copy, message(Follow, w, reader.copy, sources=()))
        for reader in w.readers_of(donor)
        if reader.copy and reader.copy.info.sources and reader.copy.info.mode is not Mode.OPEN
    ]


def paces(w: World) -> list[Command]:
    return [
        (reader.copy, message(Pace, w, reader.copy, rows_per_second=w.wish.pace))
        for reader in w.readers
        if reader.copy and reader.info and reader.info.build and reader.info.build.pace != w.wish.pace
    ]


def retirements(w: World) -> list[Command]:
    """Every copy of the generation that was left, so that none answers a gateway that has not heard of the switch."""
    return [
        (copy, message(Retire, w, copy, route=w.route))
        for shard in w.shards.get(w.other.generation, ())
        for copy in (shard.writer, *shard.followers)
        if copy and copy.info.history and not copy.info.retired
    ]


def readmissions(w: World) -> list[Command]:
    """Followers that were retired with a generation that was come back to."""
    return [(copy, message(Readmit, w, copy)) for shard in w.writers for copy in shard.followers if copy.info.retired]


def releases(w: World) -> list[Command]:
    """Leases of generations that are gone or go, or read no more: what they have not read may be purged. Copies' own are not
    meant.
    """
    standing = _readers_of(w) | _not_still(w)
    return [
        (shard.writer, message(Release, w, shard.writer, consumer=lease.consumer))
        for shard in w.writers
        if shard.writer and shard.writer.info.mode is Mode.OPEN
        for lease in shard.writer.info.followers
        if not (lease.consumer.startswith(f"{shard.name}-") or lease.consumer in standing)
    ]


def _readers_of(w: World) -> frozenset[str]:
    """Names in leases of the other generation, while it reads."""
    if w.route.other is None or w.route.phase is Phase.COLLECTING:
        return frozenset()
    shards = w.shards.get(w.other.generation, ())
    return frozenset(f"{shard.name}-0" for shard in shards) | {reverse_consumer(shard.number) for shard in shards}


def _not_still(w: World) -> frozenset[str]:
    """Names in leases of a donor that reads on, or may: one without its lease would begin at 0."""
    donor = w.route.donor
    readers = w.readers_of(donor) if donor else ()
    return frozenset(f"{one.shard.name}-0" for one in readers if one.info is None or one.info.sources)


def message(kind: type[Message], w: World, copy: Copy, **more: object) -> Message:
    return kind(epoch=w.route.epoch, history=copy.info.history, rebuild_id=w.rebuild.id, **more)


def changes_left(w: World) -> int | None:
    found = [behind(reader, w.feeds) for reader in w.readers]
    known = [left for left in found if left is not None]
    return sum(known) if len(known) == w.other.shards else None


def is_fenced(info: ShardInfo, epoch: int) -> bool:
    return info.mode is Mode.FENCED and info.fenced is not None and info.fenced.epoch == epoch == info.epoch


def fences_of(w: World) -> dict[int, ShardPosition]:
    """Of the writers that are fenced at this epoch under the history on record."""
    return {
        one.shard.number: ShardPosition(
            shard=one.shard.number, history=one.shard.writer.info.history, position=one.shard.writer.info.fenced.position
        )
        for one in w.found
        if one.standing is Standing.CLOSED
        and one.shard.writer
        and one.shard.writer.info.fenced
        and is_fenced(one.shard.writer.info, w.route.epoch)
    }


def asleep(w: World) -> list[str]:
    """Pods that run and do not answer, of the generation that takes writes until the switch, or took them."""
    leaving = w.other if w.route.phase is Phase.COMMITTED else w.writer
    answering = {
        copy.name for shard in w.shards.get(leaving.generation, ()) for copy in (shard.writer, *shard.followers) if copy
    }
    return sorted(w.wish.running.get(leaving.generation, frozenset()) - answering)
