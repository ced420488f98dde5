"""The switch from the generation that takes writes to the other one: PROTOCOL's fence, last changes, commit and retirement.

A fence over all writers, what lies below it taken by the other generation and frozen, the fence sealed, and one write of
the route that says who takes writes from here. Until that write everything can be called off; after it nothing can.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from embedding_serving.contract.admin import Activate, Fence, Seal, ShardInfo
from embedding_serving.contract.route import Phase, Refused, ShardPosition, TurnedDown

from ..build import names
from ..status import timestamp
from .commands import asleep, fences_of, follows, is_fenced, message, retirements
from .following import MOST_BEHIND, Feeds, Reader, digests_agree, prepare
from .keeping import copies, ours, readmitted, reopened
from .standing import Standing
from .world import Command, Decision, World, moment

FENCE_MARGIN = timedelta(seconds=2)
"""The shards lift a fence by themselves; after this the decision is taken back too."""
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=10)
MOST_DOUBLINGS = 10
"""Beyond, the wait is the longest anyway, and a span of time has an end."""


def hindrance(w: World, left: int | None) -> str:
    """Why the fence does not go up now: it is to stand for a moment only."""
    if left is None or left > MOST_BEHIND * len(w.readers):
        return f"{left} changes are still to be taken" if left is not None else "not all of its shards say how far they are"
    silent = [*asleep(w), *(reader.shard.name for reader in w.readers if reader.info is None)]
    if silent:
        return f"{', '.join(silent)} does not answer"
    if w.not_all_open or w.wish.leaving:
        return w.not_all_open or "this operator is about to end: the next one switches"
    last = moment(w.rebuild.fenced)
    wait = pause(w.rebuild.attempts)
    if last and w.wish.now < last + wait:
        return f"the fence was called off ({w.rebuild.attempts} so far), the next one waits until {timestamp(last + wait)}"
    return ""


def pause(attempts: int) -> timedelta:
    """How long the next fence waits after so many that were called off."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempts - 1, MOST_DOUBLINGS)) if attempts else timedelta()


def fence_goes_up(w: World) -> Decision:
    """From here writes wait. `resume` is where a fence that is called off leads back to."""
    return w.decided(
        epoch=w.route.epoch + 1,
        phase=Phase.FENCING,
        resume=w.route.phase,
        weights={w.route.writer: 100},
        rebuild=w.on_record(fenced=timestamp(w.wish.now)),
    )


def fencing(w: World) -> Decision:
    route, wish = w.route, w.wish
    reason = _called_off(w)
    if reason:
        return reopened(w, resume=route.resume, attempts=w.rebuild.attempts + 1)
    if wish.abort and route.resume is Phase.BUILDING:
        return reopened(w, resume=Phase.BUILDING)
    commands = follows(w)
    for one in w.found:
        copy = one.shard.writer
        if copy and not is_fenced(copy.info, route.epoch):
            seconds = wish.fence_timeout.total_seconds()
            commands.append((copy, message(Fence, w, copy, deadline_seconds=seconds)))
    fences = fences_of(w)
    if len(fences) < w.writer.shards:
        return w.stays(commands, "the writers are being fenced")
    return _draining(w, commands, fences)


def _called_off(w: World) -> str:
    """Why the fence comes down again without a switch."""
    since = moment(w.rebuild.fenced)
    if since is None or w.wish.now > since + w.wish.fence_timeout + FENCE_MARGIN:
        return "it took too long"
    if max((info.epoch for info in ours(w)), default=0) > w.route.epoch:
        return "a shard has seen a higher epoch"
    for one in w.found:
        if one.standing not in (Standing.OPEN, Standing.CLOSED, Standing.SILENT):
            return f"{one.shard.name} is {one.standing}"
        if one.shard.writer and one.shard.writer.info.lifted == w.route.epoch:
            return f"{one.shard.name} has lifted it"
    return ""


def _draining(w: World, commands: list[Command], fences: Mapping[int, ShardPosition]) -> Decision:
    """All writers are fenced: the other generation takes what lies below the fences, freezes, and the fences are sealed."""
    route = w.route
    alike = w.writer.shards == w.other.shards
    for reader in w.readers:
        expected = w.found[reader.shard.number].shard.writer if alike else None
        order = prepare(reader, fences, w.writer.shards, route.epoch, w.rebuild.id, expected.info.digest if expected else None)
        if order:
            commands.append(order)
    frozen = [reader.info for reader in w.readers if reader.info and reader.info.prepared == route.epoch]
    if len(frozen) < w.other.shards:
        return w.stays(commands, "the new generation takes the last changes below the fence")
    fenced = [one.shard.writer.info for one in w.found if one.shard.writer]
    if not digests_agree(fenced, frozen):
        text = "the generations do not hold the same documents at the fence: this is a fault, please report it"
        refused = Refused(
            input_hash=w.rebuild.input_hash, generation=w.other.generation, reason=TurnedDown.DIGESTS_DIFFER, message=text
        )
        resume = Phase.COLLECTING if route.resume is Phase.BUILDING else route.resume
        return reopened(w, resume=resume, refused=refused)
    unsealed = [one.shard.writer for one in w.found if one.shard.writer and not one.shard.writer.info.sealed]
    if unsealed:
        commands += [(copy, message(Seal, w, copy, position=fences[copy.info.shard].position)) for copy in unsealed]
        return w.stays(commands, "the fence is being sealed")
    return _committed_to(w, fences, frozen)


def _committed_to(w: World, fences: Mapping[int, ShardPosition], frozen: list[ShardInfo]) -> Decision:
    """The linearisation point: with this write the other generation is the one that takes writes."""
    leaving, coming = w.writer, w.other
    histories = {info.shard: info.history for info in frozen}
    coming = coming.model_copy(update={"histories": tuple(histories[number] for number in range(coming.shards))})
    targets = tuple(
        ShardPosition(shard=info.shard, history=info.history, position=info.prepared_at or 0)
        for info in sorted(frozen, key=lambda info: info.shard)
    )
    return w.decided(
        phase=Phase.COMMITTED,
        writer=coming.generation,
        other=leaving.generation,
        weights={coming.generation: 100},
        generations=(coming, leaving),
        sources=tuple(fences[number] for number in sorted(fences)),
        targets=targets,
        refused=_turned_away(w),
        acted=w.acted(names.ROLLBACK) if w.wish.rollback else w.route.acted,
        rebuild=w.on_record(retired=False, attempts=0),
        since=timestamp(w.wish.now),
    )


def _turned_away(w: World) -> Refused | None:
    """A person who goes back does not want what the spec still asks for to be built at once."""
    if not w.wish.rollback or w.wish.inputs is None:
        return w.route.refused
    if w.wish.inputs.met_by(w.other):
        return w.route.refused
    number = w.writer.generation
    text = f"generation {number} was left by annotation rollback: change the spec, or annotate retry={number}"
    return Refused(input_hash=w.wish.inputs.hash, generation=number, reason=TurnedDown.ROLLED_BACK, message=text)


def committed(w: World) -> Decision:
    """Here `writer` is the generation that comes, and `other` the one that goes."""
    route = w.route
    retired = retirements(w)
    if not w.rebuild.retired:
        again = prepared_again(w)
        if again:
            return again
        silent = asleep(w)
        if retired or silent:
            return w.stays(retired, f"the former generation is retired: {', '.join(silent)} does not answer" if silent else "")
        return w.decided(rebuild=w.on_record(retired=True))
    if all(one.standing is Standing.OPEN for one in w.found):
        return w.decided(phase=Phase.OBSERVING, since=timestamp(w.wish.now))
    copied = {one.shard.number: one for one in w.found if one.standing is Standing.COPIED}
    if copied:  # it may have taken writes before it lost its volume, and a follower has them
        return readmitted(w, copied)
    lost = [one for one in w.found if one.standing in (Standing.LOST, Standing.ACCEPTED)]
    if w.wish.loss_accepted and lost:
        again = prepared_again(w)
        if again:
            return again
    commands = [*retired, *copies(w)]
    for one in w.found:
        copy = one.shard.writer
        if copy and copy.info.prepared == route.epoch and copy.info.history == w.writer.histories[one.shard.number]:
            commands.append((copy, message(Activate, w, copy)))
    return w.stays(commands, "the new generation begins to take writes")


def prepared_again(w: World) -> Decision | None:
    """A shard of the generation that comes and has lost its volume before it took a write: it reads everything again."""
    leaving = w.other
    fences = {source.shard: source for source in w.route.sources}
    feeds = Feeds(leaving, tuple(fences[number].history for number in range(leaving.shards)))
    commands: list[Command] = []
    for shard in w.writers:
        reader = Reader(shard, w.writer)
        info, recorded = reader.info, w.writer.histories[shard.number]
        if info is None or info.history == recorded:
            continue
        if info.prepared == w.route.epoch:
            targets = tuple(
                ShardPosition(shard=shard.number, history=info.history, position=info.prepared_at or 0)
                if one.shard == shard.number
                else one
                for one in w.route.targets
            )
            histories = tuple(info.history if n == shard.number else h for n, h in enumerate(w.writer.histories))
            changed = w.writer.model_copy(update={"histories": histories})
            decision = w.decided(targets=targets, generations=(changed, leaving))
            return replace(decision, consumes_acceptance=w.rebuild.retired)
        order = feeds.follow(reader, w.route.epoch, w.rebuild.id) or prepare(
            reader, fences, leaving.shards, w.route.epoch, w.rebuild.id, None
        )
        commands += [order] if order else []
        return w.stays(commands, f"{shard.name} lost its volume and reads again what was switched to")
    return None
