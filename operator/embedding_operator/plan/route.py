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

from embedding_serving.contract.admin import Mode
from embedding_serving.contract.route import GenerationRoute, Phase, Rebuild, Refused, Route, TurnedDown

from ..build import names
from ..status import timestamp
from .commands import (
    changes_left,
    follows,
    paces,
    readmissions,
    releases,
    retirements,
    stills,
)
from .diagnosis import NO_ROOM
from .donor import donor_of, is_wanted, suits
from .following import MOST_BEHIND
from .keeping import kept_open, reopened
from .standing import Shard, Standing, assess
from .switch import committed, fence_goes_up, fencing, hindrance
from .wish import Inputs, Wish, inputs_of
from .world import STEADY, Command, Decision, World, moment

LATEST_NEWS = timedelta(minutes=2)
"""By then a gateway has the route as a file, even where it can't be reached; before, only what was left can tell it."""


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
        return w.decided(refused=None, acted=w.acted(names.RETRY))
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
    hold = wish.hold.message if wish.hold else w.not_all_open
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
    hindered = hindrance(w, left)
    if hindered:
        return w.stays(commands, hindered, behind=left)
    return fence_goes_up(w)


def _observing(w: World) -> Decision:
    """`other` is the generation that was left; it follows, so that the way back is open."""
    wish, route = w.wish, w.route
    commands = [*follows(w), *retirements(w), *readmissions(w)]
    left = changes_left(w)
    wanted = wish.inputs
    if _wants_back(w):
        hindered = hindrance(w, left)
        if hindered:
            return w.stays(commands, f"goes back to generation {w.other.generation} as soon as it can: {hindered}", behind=left)
        return fence_goes_up(w)
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
    Phase.FENCING: fencing,
    Phase.COMMITTED: committed,
    Phase.OBSERVING: _observing,
    Phase.REOPENING: _reopening,
    Phase.COLLECTING: _collecting,
}


# --- decisions that several phases take ---


def _given_up(w: World, refused: Refused | None, rebuild: Rebuild | None = None) -> Decision:
    return reopened(w, resume=Phase.COLLECTING, refused=refused, rebuild=rebuild)


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
