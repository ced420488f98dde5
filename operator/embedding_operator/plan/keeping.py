"""The shards of the generation that takes writes are kept open, under histories that are on record."""

from collections.abc import Iterable

from embedding_serving.contract.admin import Mode, ShardInfo
from embedding_serving.contract.route import GenerationRoute, Phase, Rebuild, Refused

from .standing import ADMITTED, Assessment, Standing
from .world import STEADY, Command, Decision, World, successor


def kept_open(w: World) -> Decision | None:
    """In a steady phase every shard of the writer is open under the history on record; where one is not, at a higher epoch."""
    admitted = _admitted(w.found)
    if admitted or _highest(w) > w.route.epoch:
        return readmitted(w, admitted)
    closed = [one for one in w.found if one.standing is Standing.CLOSED]
    if closed and (w.route.phase in STEADY or any(_fenced_at(one, w.route.epoch) for one in closed)):
        return reopened(w, resume=w.route.phase if w.route.phase in STEADY else w.route.resume)
    told = copies(w)
    return w.stays(told) if told and w.route.phase in STEADY else None


def copies(w: World) -> list[Command]:
    """For shards that lost their volume: read what a follower has."""
    copying = [(one.shard.writer, one.command) for one in w.found if one.standing is Standing.COPYING]
    return [(copy, message) for copy, message in copying if copy and message]


def readmitted(w: World, admitted: dict[int, Assessment]) -> Decision:
    """A quarantined shard is opened at a higher epoch than it, or any other, has seen."""
    route, generation, highest = w.route, w.writer, _highest(w)
    histories = list(generation.histories or ("",) * generation.shards)
    for number, one in admitted.items():
        if one.shard.writer:
            histories[number] = one.shard.writer.info.history
    first = highest < route.epoch and route.phase is Phase.REOPENING and not any(histories_of(generation))
    epoch = route.epoch if first else max(route.epoch, highest) + 1
    changed = generation.model_copy(update={"histories": tuple(histories)})
    accepted = any(
        one.standing is Standing.ACCEPTED or (one.standing is Standing.COPIED and one.behind) for one in admitted.values()
    )
    generations = tuple(changed if one.generation == changed.generation else one for one in route.generations)
    resume = Phase.OBSERVING if route.phase is Phase.COMMITTED else route.phase if route.phase in STEADY else route.resume
    wanted = successor(route, epoch=epoch, phase=Phase.REOPENING, resume=resume, generations=generations)
    return Decision(wanted, w.found, consumes_acceptance=accepted)


def histories_of(generation: GenerationRoute) -> tuple[str, ...]:
    """Histories on record, without those that are not yet."""
    return tuple(history for history in generation.histories if history)


def _admitted(found: tuple[Assessment, ...]) -> dict[int, Assessment]:
    """Shards whose history goes on record now. The first time it is all of them together."""
    admitted = {one.shard.number: one for one in found if one.standing in ADMITTED}
    new = {one.shard.number: one for one in found if one.standing is Standing.NEW}
    all_answer = all(one.standing not in (Standing.SILENT, Standing.FOREIGN, Standing.CORRUPT) for one in found)
    return admitted | (new if all_answer else {})


def _highest(w: World) -> int:
    return max((info.epoch for info in ours(w)), default=0)


def ours(w: World) -> Iterable[ShardInfo]:
    """What the writers of both generations say, where they are what the route says."""
    yield from (
        one.shard.writer.info
        for one in w.found
        if one.shard.writer and one.standing not in (Standing.FOREIGN, Standing.CORRUPT, Standing.SILENT)
    )
    if w.route.other is not None:
        yield from (reader.info for reader in w.readers if reader.info)


def _fenced_at(one: Assessment, epoch: int) -> bool:
    """A fence ends at a higher epoch only."""
    info = one.shard.writer.info if one.shard.writer else None
    return info is not None and info.mode is Mode.FENCED and info.epoch == epoch


def reopened(
    w: World, *, resume: Phase, attempts: int | None = None, refused: Refused | None = None, rebuild: Rebuild | None = None
) -> Decision:
    """At a higher epoch, which voids what was gathered at this one."""
    record = rebuild or w.route.rebuild
    if record and attempts is not None:
        record = record.model_copy(update={"attempts": attempts})
    return w.decided(
        epoch=w.route.epoch + 1,
        phase=Phase.REOPENING,
        resume=resume,
        weights={w.route.writer: 100},
        refused=refused or w.route.refused,
        rebuild=record,
    )
