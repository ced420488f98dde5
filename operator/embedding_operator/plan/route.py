"""The decision table of a route: what the spec asks for and shards say in, the next route and commands out.

PROTOCOL, phase by phase. Every decision is a change of the route, written by compare-and-set before anything follows
from it; commands belong to the route as it is, and all of them can be repeated. Nothing is remembered between two
looks: whoever comes after a crash reads the shards, then the route, and goes on from here.

A rebuild that is given up for another one of the same vector space is not thrown away: it goes from Reopening to Stable as
the donor of the next, which takes its vectors where texts are the same.

    Stable ─▶ Building ─▶ Fencing ─▶ Committed ─▶ Observing ─▶ Collecting ─▶ Stable
                 ▲           │                        │
                 └ Reopening ┘        Fencing ◀───────┘ rollback
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta

from embedding_serving.contract.admin import Activate, Fence, Mode, Seal, ShardInfo
from embedding_serving.contract.route import GenerationRoute, Phase, Rebuild, Refused, Route, ShardPosition, TurnedDown

from ..build import names
from ..status import timestamp
from .commands import (
    asleep,
    changes_left,
    fences_of,
    follows,
    is_fenced,
    message,
    paces,
    readmissions,
    releases,
    retirements,
    stills,
)
from .diagnosis import NO_ROOM
from .donor import donor_of, is_wanted, suits
from .following import MOST_BEHIND, Feeds, Reader, digests_agree, prepare
from .keeping import copies, kept_open, ours, readmitted, reopened
from .standing import Shard, Standing, assess
from .wish import Inputs, Wish, inputs_of
from .world import STEADY, Command, Decision, World, moment

FENCE_MARGIN = timedelta(seconds=2)
"""The shards lift a fence by themselves; after this the decision is taken back too."""
LATEST_NEWS = timedelta(minutes=2)
"""By then a gateway has the route as a file, even where it can't be reached; before, only what was left can tell it."""
FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(minutes=10)
MOST_DOUBLINGS = 10
"""Beyond, the wait is the longest anyway, and a span of time has an end."""


def decide(route: Route, shards: Mapping[int, tuple[Shard, ...]], wish: Wish) -> Decision:
    """The next step of a route."""
    mine = shards.get(route.writer, ())
    found = tuple(assess(shard, route.active, route.epoch, loss_accepted=wish.loss_accepted) for shard in mine)
    w = World(route, shards, wish, found)
    standing = {name: value for name, value in route.acted.items() if wish.said.get(name) == value}
    if standing != route.acted:
        return w.decided(acted=standing)
    if wish.unheeded:
        notes = tuple(text for text in wish.unheeded.values() if text)
        return replace(w.decided(acted=route.acted | {name: wish.said[name] for name in wish.unheeded}), notes=notes)
    if wish.retry and route.refused:
        return w.decided(refused=None, acted=_acted(w, names.RETRY))
    if route.phase in STEADY or route.phase is Phase.REOPENING:
        kept = kept_open(w)
        if kept:
            return kept
    return _PHASES[route.phase](w)


# --- the phases ---


def _stable(w: World) -> Decision:
    wish, route = w.wish, w.route
    chores = [*stills(w), *readmissions(w), *releases(w)]
    if route.donor and not suits(w, route.donor):
        return w.decided(donor=None)
    if wish.timetable != route.timetable:
        return w.decided(timetable=wish.timetable)
    if wish.inputs is None or wish.draft is None or not is_wanted(w):
        return w.stays(chores)
    if route.donor and wish.hold and wish.hold.reason == NO_ROOM:
        return w.decided(donor=None)
    hold = wish.hold.message if wish.hold else _not_all_open(w)
    if hold:
        return w.stays(chores, hold)
    rebuild = Rebuild(
        id=wish.rebuild_id,
        generation=wish.draft.generation,
        input_hash=wish.inputs.hash,
        causes=wish.causes,
        started=timestamp(wish.now),
    )
    return w.decided(
        phase=Phase.BUILDING,
        other=wish.draft.generation,
        next_generation=wish.draft.generation + 1,
        generations=(w.writer, wish.draft),
        weights={route.writer: 100},
        rebuild=rebuild,
        refused=None,
        timetable=wish.timetable.model_copy(update={"after": timestamp(wish.now)}) if wish.timetable else None,
        sources=(),
        targets=(),
    )


def _building(w: World) -> Decision:
    wish, rebuild = w.wish, w.rebuild
    if wish.abort:
        text = f"generation {w.other.generation} was given up by annotation: change the spec, or annotate retry"
        refused = Refused(input_hash=rebuild.input_hash, generation=w.other.generation, reason=TurnedDown.ABORTED, message=text)
        return _given_up(w, refused)
    if wish.inputs is not None and (not wish.inputs.met_by(w.other) or _withdrawn(w, wish.inputs)):
        return _given_up(w, w.route.refused)
    if w.route.donor and wish.cramped:
        return w.decided(donor=None)
    commands = [*stills(w), *follows(w), *paces(w), *readmissions(w), *releases(w)]
    left = changes_left(w)
    if wish.pace == 0:
        return w.stays(commands, "paused by annotation", behind=left)
    if left is None or left > MOST_BEHIND * len(w.readers):
        return w.stays(commands, behind=left)
    if w.route.donor:
        return w.decided(donor=None)
    if rebuild.verdict is None:
        return _judged(w, commands, left)
    return _promoted(w, commands, left)


def _withdrawn(w: World, wanted: Inputs) -> bool:
    """Whether the difference is gone for which it was begun: the generation that serves is as the spec asks for.

    A storage class or a token that the spec does not name any more is met by every generation.
    """
    return wanted.met_by(w.writer) and not inputs_of(w.other).met_by(w.writer)


def _judged(w: World, commands: list[Command], left: int) -> Decision:
    verdict = w.wish.gate
    if verdict is None:
        return w.stays(commands, "the gate measures the new generation", behind=left, wants_gate=True)
    rebuild = w.on_record(verdict=verdict, verified=timestamp(w.wish.now))
    if verdict.passed:
        return w.decided(rebuild=rebuild)
    number, inputs = w.other.generation, w.rebuild.input_hash
    refused = Refused(input_hash=inputs, generation=number, reason=TurnedDown.GATE_REFUSED, message=verdict.message)
    return _given_up(w, refused, rebuild)


def _promoted(w: World, commands: list[Command], left: int) -> Decision:
    wish, rebuild, steps = w.wish, w.rebuild, w.wish.promotion.canary
    since = moment(rebuild.canary_since)
    if not wish.promote:
        if rebuild.canary_step < len(steps):
            pause = steps[rebuild.canary_step - 1][1] if rebuild.canary_step else 0
            if pause is not None and (since is None or wish.now >= since + timedelta(seconds=pause)):
                return _canary(w, steps[rebuild.canary_step][0])
            return w.stays(commands, _canary_text(w), behind=left)
        if rebuild.canary_step and steps:
            pause = steps[-1][1]
            if pause is None or (since and wish.now < since + timedelta(seconds=pause)):
                return w.stays(commands, _canary_text(w), behind=left)
        if not wish.promotion.enabled:
            verified = moment(rebuild.verified)
            due = verified and wish.promotion.after is not None and wish.now >= verified + wish.promotion.after
            if not due:
                return w.stays(commands, "passed the gate and waits for annotation promote", behind=left)
    hindrance = _hindrance(w, left)
    if hindrance:
        return w.stays(commands, hindrance, behind=left)
    return _fence_goes_up(w)


def _fencing(w: World) -> Decision:
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
        acted=_acted(w, names.ROLLBACK) if w.wish.rollback else w.route.acted,
        rebuild=w.on_record(retired=False, attempts=0),
        since=timestamp(w.wish.now),
    )


def _committed(w: World) -> Decision:
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


def _observing(w: World) -> Decision:
    """`other` is the generation that was left; it follows, so that the way back is open."""
    wish, route = w.wish, w.route
    commands = [*follows(w), *retirements(w), *readmissions(w)]
    left = changes_left(w)
    wanted = wish.inputs
    if _wants_back(w):
        hindrance = _hindrance(w, left)
        if hindrance:
            return w.stays(
                commands, f"goes back to generation {w.other.generation} as soon as it can: {hindrance}", behind=left
            )
        return _fence_goes_up(w)
    since = moment(route.since)
    over = since is None or wish.now >= since + wish.rollback_window
    refused = route.refused and wanted and route.refused.input_hash == wanted.hash
    another = wanted is not None and not wanted.met_by(w.writer) and not refused
    if not (over or another):
        return w.stays(commands, behind=left)
    if wish.unheard and since is not None and wish.now < since + LATEST_NEWS:
        return w.stays(commands, f"{', '.join(wish.unheard)} has not heard of the switch", behind=left)
    return w.decided(phase=Phase.COLLECTING)


def _reopening(w: World) -> Decision:
    route = w.route
    if all(one.standing is Standing.OPEN for one in w.found):
        if route.other is None:
            return w.decided(phase=Phase.STABLE, resume=Phase.STABLE)
        return _parted(w) if route.resume is Phase.COLLECTING else w.decided(phase=route.resume, resume=Phase.STABLE)
    commands = follows(w) if route.other is not None else []
    unaware = _unaware(w)
    if unaware:
        return w.stays(commands, f"{', '.join(unaware)} must hear first that nothing is switched to")
    opened = [(one.shard.writer, one.command) for one in w.found if one.standing in (Standing.CLOSED, Standing.COPYING)]
    return w.stays([*commands, *((copy, message) for copy, message in opened if copy and message)])


def _unaware(w: World) -> list[str]:
    """Shards that were frozen for a switch and have not heard of this epoch: a command to open them may be on its way still."""
    if w.route.other is None:
        return []
    return [
        reader.shard.name
        for reader in w.readers
        if reader.info and reader.info.prepared and reader.info.epoch < w.route.epoch and reader.info.mode is not Mode.OPEN
    ]


def _parted(w: World) -> Decision:
    """What was given up goes, unless it gives its vectors to what is built next."""
    donor = donor_of(w)
    if donor is w.other:
        return _alone(w, donor)
    return w.decided(phase=Phase.COLLECTING, resume=Phase.STABLE, donor=donor)


def _collecting(w: World) -> Decision:
    """The objects and volumes of `other` go: the plan deletes what no phase intends."""
    gone = w.route.other
    if gone in w.wish.leftovers:
        return w.stays([*stills(w), *releases(w), *readmissions(w)], f"generation {gone} is removed")
    return _alone(w, w.route.donor)


def _alone(w: World, donor: GenerationRoute | None) -> Decision:
    """One generation is left, beside what has vectors for the next."""
    return w.decided(
        phase=Phase.STABLE,
        resume=Phase.STABLE,
        donor=donor,
        other=None,
        generations=(w.writer,),
        rebuild=None,
        sources=(),
        targets=(),
        weights={w.route.writer: 100},
    )


_PHASES: dict[Phase, Callable[[World], Decision]] = {
    Phase.STABLE: _stable,
    Phase.BUILDING: _building,
    Phase.FENCING: _fencing,
    Phase.COMMITTED: _committed,
    Phase.OBSERVING: _observing,
    Phase.REOPENING: _reopening,
    Phase.COLLECTING: _collecting,
}


# --- decisions that several phases take ---


def _given_up(w: World, refused: Refused | None, rebuild: Rebuild | None = None) -> Decision:
    return reopened(w, resume=Phase.COLLECTING, refused=refused, rebuild=rebuild)


def _fence_goes_up(w: World) -> Decision:
    """From here writes wait. `resume` is where a fence that is called off leads back to."""
    return w.decided(
        epoch=w.route.epoch + 1,
        phase=Phase.FENCING,
        resume=w.route.phase,
        weights={w.route.writer: 100},
        rebuild=w.on_record(fenced=timestamp(w.wish.now)),
    )


def _acted(w: World, name: str) -> dict[str, str]:
    return w.route.acted | {name: w.wish.said.get(name, "")}


def _turned_away(w: World) -> Refused | None:
    """A person who goes back does not want what the spec still asks for to be built at once."""
    if not w.wish.rollback or w.wish.inputs is None:
        return w.route.refused
    if w.wish.inputs.met_by(w.other):
        return w.route.refused
    number = w.writer.generation
    text = f"generation {number} was left by annotation rollback: change the spec, or annotate retry={number}"
    return Refused(input_hash=w.wish.inputs.hash, generation=number, reason=TurnedDown.ROLLED_BACK, message=text)


def _wants_back(w: World) -> bool:
    """Asked for by annotation, or by a spec that is again what the generation was made from that was left."""
    if w.wish.rollback:
        return True
    wanted, refused = w.wish.inputs, w.route.refused
    if wanted is None or wanted.met_by(w.writer) or not wanted.met_by(w.other):
        return False
    return not (refused and refused.input_hash == wanted.hash)


def _canary(w: World, percent: int) -> Decision:
    rebuild = w.on_record(canary_step=w.rebuild.canary_step + 1, canary_since=timestamp(w.wish.now))
    return w.decided(weights={w.route.writer: 100 - percent, w.other.generation: percent}, rebuild=rebuild)


def _canary_text(w: World) -> str:
    percent = w.route.weights.get(w.other.generation, 0)
    return f"{percent} % of the reads go to generation {w.other.generation} (canary step {w.rebuild.canary_step})"


def _hindrance(w: World, left: int | None) -> str:
    """Why the fence does not go up now: it is to stand for a moment only."""
    if left is None or left > MOST_BEHIND * len(w.readers):
        return f"{left} changes are still to be taken" if left is not None else "not all of its shards say how far they are"
    silent = [*asleep(w), *(reader.shard.name for reader in w.readers if reader.info is None)]
    if silent:
        return f"{', '.join(silent)} does not answer"
    if _not_all_open(w) or w.wish.leaving:
        return _not_all_open(w) or "this operator is about to end: the next one switches"
    last = moment(w.rebuild.fenced)
    wait = pause(w.rebuild.attempts)
    if last and w.wish.now < last + wait:
        return f"the fence was called off ({w.rebuild.attempts} so far), the next one waits until {timestamp(last + wait)}"
    return ""


def pause(attempts: int) -> timedelta:
    """How long the next fence waits after so many that were called off."""
    return min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempts - 1, MOST_DOUBLINGS)) if attempts else timedelta()


def _not_all_open(w: World) -> str:
    closed = [one.shard.name for one in w.found if one.standing is not Standing.OPEN]
    return f"{', '.join(closed)} does not take writes" if closed else ""


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
