"""What happens in one life of an index: what people ask for, and what fails."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from embedding_serving.contract.admin import Mode
from embedding_serving.contract.route import Phase

from .network import Node, Weather

if TYPE_CHECKING:
    from .world import World

Deed = Callable[["World"], None]

ACCEPTS_SECONDS = 5.0


@dataclass
class Schedule:
    """deeds: what happens when, in seconds from when the index takes writes. upon: the first time that a phase is entered."""

    seconds: float
    weather: Weather
    deeds: list[tuple[float, str, Deed]] = field(default_factory=list)
    upon: list[tuple[Phase, float, str, Deed]] = field(default_factory=list)

    def __str__(self) -> str:
        told = [f"{what} at {when:.1f}" for when, what, _ in self.deeds]
        told += [f"{what} {seconds:.2f} s after {phase} begins" for phase, seconds, what, _ in self.upon]
        return f"{self.seconds:.1f} s, {self.weather}, {', '.join(told)}"

    def add(self, when: float, what: str, do: Deed) -> None:
        self.deeds.append((when, what, do))

    async def play(self, world: "World") -> None:
        await world.opened_for_clients()
        world.network.weather = self.weather
        start = world.loop.now
        for when, what, do in sorted(self.deeds, key=lambda deed: deed[0]):
            await asyncio.sleep(start + when - world.loop.now)
            world.trace(f"--- {what}")
            do(world)
        await asyncio.sleep(start + self.seconds - world.loop.now)

    def entered(self, world: "World", phase: Phase) -> None:
        """Faults that wait for this moment."""
        if world.closing:
            return
        for one in [one for one in self.upon if one[0] is phase]:
            self.upon.remove(one)
            _, seconds, what, do = one
            world.loop.call_later(seconds, self._do, world, what, do)

    def _do(self, world: "World", what: str, do: Deed) -> None:
        if not world.closing:
            world.trace(f"--- {what}")
            do(world)

    def heal(self, world: "World") -> None:
        """Faults are over; what was asked for last stands."""
        world.trace("--- faults are over")
        world.network.weather = Weather()
        world.network.cut.clear()
        world.commit_seconds = 0.003
        world.pushes, world.kube.lag_seconds = True, 0.2
        world.embed_seconds = 0.03
        world.spec.auto_promotion, world.spec.canary = True, ()
        if world.volumes_lost:
            world.loop.call_later(ACCEPTS_SECONDS, _accept, world)
        for node in world.nodes():
            node.frozen_until = 0.0
        for name in world.kube.pods:
            if world.process_at(name) is None:
                world.start(name, 0.1)


def drawn(world: "World") -> Schedule:
    dice, spec = world.dice, world.spec
    spec.shards = dice.choice((1, 1, 1, 2, 2))
    spec.replicas = dice.choice((1, 1, 1, 2))
    spec.fence_seconds = dice.choice((0.3, 1.0, 3.0))
    spec.rollback_seconds = dice.choice((1.0, 1.0, 3.0, 30.0))
    spec.auto_promotion = dice.random() < 0.8
    spec.canary = dice.choice(((), (), (), ((30, 0.5),), ((50, None),)))
    spec.refused_generations = {2} if dice.random() < 0.05 else set()
    spec.max_parallel_shards = dice.choice((None, None, 1))
    world.acknowledge = "Follower" if spec.replicas > 1 else "Writer"
    world.pause_seconds = dice.choice((0.3, 0.6, 1.2))
    world.retention_seconds = dice.choice((60.0, 60.0, 100.0))
    calm = dice.random() < 0.1
    world.calm = calm
    operators = 1 if calm else dice.choice((1, 1, 2))
    world.begin(gateways=dice.choice((1, 1, 2)), operators=operators, clients=dice.choice((2, 4)), documents=2)
    world.commit_seconds = dice.choice((0.003, 0.003, 0.3, 0.3))
    schedule = Schedule(dice.uniform(2.0, 5.0), Weather() if calm else _weather(dice))
    world.entered = schedule.entered
    if dice.random() < 0.5:
        world.pushes, world.kube.lag_seconds = False, 3.0 if calm else 6.0
    _wishes(schedule, dice)
    if calm:
        if dice.random() < 0.7:  # reads go on without an operator
            schedule.upon.append((dice.choice((Phase.FENCING, Phase.COMMITTED, Phase.COMMITTED)), 0.0, *_freeze_operator(dice)))
    else:
        world.embed_seconds = dice.choice((0.03, 0.3, 0.5))
        _faults(schedule, dice)
    return schedule


def _weather(dice: random.Random) -> Weather:
    if dice.random() < 0.3:
        return Weather()
    return Weather(
        lost=dice.choice((0.0, 0.02, 0.1)),
        reply_lost=dice.choice((0.0, 0.02, 0.1)),
        slow=dice.choice((0.0, 0.02, 0.1, 0.2)),
        slow_seconds=dice.choice((0.5, 3.0)),
        twice=dice.choice((0.0, 0.0, 0.1, 0.4)),
    )


# --- what people ask for ---


def _wishes(schedule: Schedule, dice: random.Random) -> None:
    when = dice.uniform(0.0, 0.5)
    schedule.add(when, *_change(dice))
    if dice.random() < 0.3:
        schedule.upon.append((Phase.OBSERVING, dice.uniform(0.0, 1.0), *_rollback(dice)))
    for _ in range(dice.choice((0, 1, 1, 2, 3))):
        when += dice.choice((dice.uniform(0.0, 0.6), dice.uniform(0.3, 3.0)))
        schedule.add(when, *dice.choice((_change, _back, _abort, _rollback, _promote, _retry, _rollback, _abort))(dice))


def _change(dice: random.Random) -> tuple[str, Deed]:
    fingerprint, shards = f"fp-{dice.randrange(2, 5)}", dice.choice((None, None, 1, 2, 3))

    def do(world: "World") -> None:
        world.spec.fingerprint = fingerprint if dice.random() < 0.8 or shards is None else world.spec.fingerprint
        world.spec.shards = shards or world.spec.shards

    return f"{fingerprint} in {shards or 'as many'} shards is asked for", do


def _back(dice: random.Random) -> tuple[str, Deed]:
    def do(world: "World") -> None:
        first = world.kube.routes[0][1].generations[0]
        world.spec.fingerprint, world.spec.shards = first.fingerprint, first.shards

    return "the first model is asked for again", do


def _abort(dice: random.Random) -> tuple[str, Deed]:
    def do(world: "World") -> None:
        world.spec.abort = world.kube.route.other

    return "somebody aborts", do


def _rollback(dice: random.Random) -> tuple[str, Deed]:
    def do(world: "World") -> None:
        world.spec.rollback = world.kube.route.writer

    return "somebody goes back", do


def _promote(dice: random.Random) -> tuple[str, Deed]:
    def do(world: "World") -> None:
        world.spec.promote = world.kube.route.other

    return "somebody promotes", do


def _retry(dice: random.Random) -> tuple[str, Deed]:
    def do(world: "World") -> None:
        refused = world.kube.route.refused
        world.spec.retry = refused.generation if refused else None

    return "somebody retries", do


# --- what fails ---


def _faults(schedule: Schedule, dice: random.Random) -> None:
    kinds = dice.sample(FAULTS, 4)
    for _ in range(dice.choice((0, 1, 2, 3, 5))):
        schedule.add(dice.uniform(0.0, schedule.seconds), *dice.choice(kinds)(dice))
    for _ in range(dice.choice((0, 1, 2, 3))):
        phase, kind = dice.choice(POINTED)
        seconds = dice.choice((0.0, 0.05, 0.1, 0.2, 0.5)) * (3 if phase is Phase.BUILDING else 1)  # pods have to start
        schedule.upon.append((phase, seconds, *kind(dice)))


def _kill_shard(dice: random.Random) -> tuple[str, Deed]:
    seconds = dice.choice((0.05, 0.3, 2.0))

    def do(world: "World") -> None:
        pod = dice.choice(sorted(world.kube.pods))
        world.kill(pod, again_after=seconds)

    return f"a shard dies for {seconds} s", do


def _kill_operator(dice: random.Random) -> tuple[str, Deed]:
    seconds = dice.choice((0.0, 0.5, 3.0))

    def do(world: "World") -> None:
        world.replace_operator(dice.randrange(len(world.operators)), seconds)

    return f"an operator dies for {seconds} s", do


def _kill_gateway(dice: random.Random) -> tuple[str, Deed]:
    def do(world: "World") -> None:
        world.replace_gateway(dice.randrange(len(world.gateways)))

    return "a gateway dies", do


def _freeze(dice: random.Random) -> tuple[str, Deed]:
    seconds = dice.choice((0.3, 1.0, 4.0))

    def do(world: "World") -> None:
        node = _any(world, dice)
        world.trace(f"{node.name} is frozen for {seconds} s")
        node.frozen_until = world.loop.now + seconds

    return "a process freezes", do


def _freeze_operator(dice: random.Random) -> tuple[str, Deed]:
    seconds = dice.choice((0.3, 1.0, 2.0))

    def do(world: "World") -> None:
        for operator in world.operators:
            operator.frozen_until = world.loop.now + seconds

    return f"the operator is away for {seconds} s", do


def _lose_answers(dice: random.Random) -> tuple[str, Deed]:
    seconds = dice.choice((0.3, 1.0))

    def do(world: "World") -> None:
        before = world.network.weather
        world.network.weather = replace(before, reply_lost=0.7)
        world.loop.call_later(seconds, clear, world, before)

    def clear(world: "World", before: Weather) -> None:
        if not world.closing:
            world.network.weather = before

    return f"most answers are lost for {seconds} s", do


def _cut(dice: random.Random) -> tuple[str, Deed]:
    seconds = dice.choice((0.3, 1.0, 4.0))

    def do(world: "World") -> None:
        name = _any(world, dice).name
        world.trace(f"{name} reaches nobody for {seconds} s")
        world.network.cut.add(name)
        world.loop.call_later(seconds, world.network.cut.discard, name)

    return "a node is cut off", do


def _clock(dice: random.Random) -> tuple[str, Deed]:
    seconds = dice.choice((-15.0, -3.0, 3.0, 15.0))

    def do(world: "World") -> None:
        world.loop.skew = max(-20.0, min(20.0, world.loop.skew + seconds))

    return f"clocks jump by {seconds} s", do


def _take_over(dice: random.Random) -> tuple[str, Deed]:
    """Another operator leads, while the one before does not know it yet."""

    def do(world: "World") -> None:
        world.operators[0].frozen_until = world.loop.now + dice.choice((0.3, 1.0, 3.0))
        world.add_operator()

    return "another operator takes over", do


def _lose_volume(dice: random.Random) -> tuple[str, Deed]:
    def do(world: "World") -> None:
        losable = [name for name in sorted(world.kube.pods) if _spare(world, name)]
        if losable and not (world.volumes_lost or world.volumes_put_back):
            world.volumes_lost += 1
            world.lose(dice.choice(losable))

    return "a volume is lost", do


def _put_back(dice: random.Random) -> tuple[str, Deed]:
    """A volume as it was a while ago, of a shard that reads and never took writes: its generation waits for promotion."""
    seconds = dice.choice((0.3, 1.0, 2.0))

    def do(world: "World") -> None:
        known = [name for name in sorted(world.kube.pods) if world.never_open(name) and world.process_at(name)]
        if known and not world.volumes_lost:
            world.volumes_put_back += 1
            name = dice.choice(known)
            content = world.disks.copy(f"/simulated/{name}")
            world.trace(f"{name} is copied")
            world.loop.call_later(seconds, world.put_back, name, content)
            promotes, world.spec.auto_promotion = world.spec.auto_promotion, False
            world.loop.call_later(seconds + 0.5, promoted, world, promotes)

    def promoted(world: "World", promotes: bool) -> None:
        world.spec.auto_promotion = promotes or world.closing

    return f"a volume is put back as it was {seconds} s before", do


def _spare(world: "World", name: str) -> bool:
    """Whether nothing acknowledged is on this volume alone."""
    pod, route = world.kube.pods[name], world.kube.route
    if pod.ordinal:
        return True
    if pod.generation.generation != route.writer:
        return world.opened.get(name, (0, Mode.CLOSED))[1] is not Mode.OPEN
    return (route.phase is Phase.COMMITTED and world.never_open(name)) or _is_copied(world, name)


def _is_copied(world: "World", name: str) -> bool:
    """Whether followers have all that this writer has acknowledged."""
    own = world.kube.pods[name]
    copies = [
        one.name
        for one in world.kube.pods.values()
        if (one.generation, one.shard) == (own.generation, own.shard) and one is not own
    ]
    return world.acknowledge == "Follower" and bool(copies) and all(world.process_at(copy) for copy in copies)


def _any(world: "World", dice: random.Random) -> Node:
    return dice.choice(world.nodes())


def _accept(world: "World") -> None:
    """A person accepts what is lost, after everybody who may have it had time to answer."""
    world.spec.accepted_loss = world.kube.route.writer


FAULTS = (
    _kill_shard,
    _kill_shard,
    _kill_operator,
    _kill_gateway,
    _freeze,
    _cut,
    _clock,
    _lose_volume,
    _put_back,
    _take_over,
    _freeze_operator,
    _lose_answers,
)
POINTED = (
    (Phase.BUILDING, _kill_shard),
    (Phase.BUILDING, _put_back),
    (Phase.BUILDING, _lose_volume),
    (Phase.FENCING, _kill_shard),
    (Phase.FENCING, _freeze),
    (Phase.FENCING, _freeze_operator),
    (Phase.FENCING, _freeze_operator),
    (Phase.FENCING, _kill_operator),
    (Phase.FENCING, _take_over),
    (Phase.FENCING, _lose_answers),
    (Phase.FENCING, _lose_volume),
    (Phase.FENCING, _abort),
    (Phase.COMMITTED, _kill_shard),
    (Phase.COMMITTED, _freeze),
    (Phase.COMMITTED, _freeze_operator),
    (Phase.COMMITTED, _lose_volume),
    (Phase.COMMITTED, _take_over),
    (Phase.REOPENING, _kill_shard),
    (Phase.REOPENING, _lose_volume),
    (Phase.REOPENING, _freeze_operator),
    (Phase.OBSERVING, _kill_shard),
    (Phase.OBSERVING, _lose_volume),
    (Phase.OBSERVING, _take_over),
    (Phase.OBSERVING, _rollback),
)
"""What happens at the moments that matter."""
