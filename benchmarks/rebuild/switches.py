"""Switches of a generation, forth and back, beside clients that write: what each asks of them, and how long its steps take."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from embedding_serving.contract.route import Phase, Route

from .clients import SEARCH, WRITE, Log, Request
from .operator import Operator
from .pods import Pod

MARGIN_SECONDS = 1.0
"""Before the fence and after the end of a switch: what is on its way then is of it."""
SWITCH_SECONDS = 120.0
LOOK_SECONDS = 0.005


@dataclass(frozen=True)
class Slowest:
    """Of a stretch of time. gap: the longest one between two acknowledgements."""

    seconds: float
    gap: float
    failures: int


@dataclass(frozen=True)
class Switch:
    """name: of the annotation that asked for it. Times in seconds. asked_to_gateways: from the annotation until every gateway
    answers with the other generation. steps: from one decision to the next, by what is done then. spent, calls: by message.
    """

    name: str
    asked_to_fence: float
    asked_to_gateways: float
    fence_to_open: float
    steps: dict[str, float]
    writes: Slowest
    idle_writes: Slowest
    searches: Slowest
    idle_searches: Slowest
    spent: dict[str, float] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)


async def switched(operator: Operator, name: str, generation: int, log: Log) -> Switch:
    """Asks for it by annotation, in a world where the other generation has caught up; returns when the log is complete."""
    to = operator.route.other
    before = operator.record.version
    asked = time.monotonic()
    operator.annotate({name: str(generation)})
    await _until(lambda: operator.route.phase is Phase.FENCING or operator.route.writer == to, name)
    at_gateways = await _answered_by(operator, operator.gateways, to)
    await _until(lambda: operator.route.writer == to and operator.route.phase is Phase.OBSERVING, name)
    changes = operator.record.changes[before:]
    fence = next(at for at, route in changes if route.phase is Phase.FENCING)
    opened = changes[-1][0]
    await asyncio.sleep(MARGIN_SECONDS + 0.5)
    since, until = fence - MARGIN_SECONDS, opened + MARGIN_SECONDS
    idle = since - (until - since), since
    calls = [one for one in operator.data_plane.calls if fence <= one.ended <= opened]
    return Switch(
        name=name,
        asked_to_fence=fence - asked,
        asked_to_gateways=at_gateways - asked,
        fence_to_open=opened - fence,
        steps=_steps([change for change in changes if change[0] >= fence]),
        writes=slowest(log.under_way(since, until, WRITE)),
        idle_writes=slowest(log.answered(*idle, WRITE)),
        searches=slowest(log.under_way(since, until, SEARCH)),
        idle_searches=slowest(log.answered(*idle, SEARCH)),
        spent={what: sum(one.seconds for one in calls if one.what == what) for what in {one.what for one in calls}},
        calls=dict(Counter(one.what for one in calls)),
    )


async def followed(operator: Operator) -> None:
    """Until the generation that takes no writes has all of them, and no annotation is on record: it can be switched to."""
    operator.annotate({})

    def holds() -> bool:
        operator.changed()
        return not operator.route.acted and operator.decision is not None and operator.decision.behind == 0

    await _until(holds, "the other generation follows", seconds=10 * LOOK_SECONDS)


def slowest(requests: Sequence[Request]) -> Slowest:
    answered = [one for one in requests if not one.failure]
    gaps = [later.ended - earlier.ended for earlier, later in pairwise(answered)]
    worst = max((one.seconds for one in answered), default=0.0)
    return Slowest(worst, max(gaps, default=0.0), len(requests) - len(answered))


def _steps(changes: Sequence[tuple[float, Route]]) -> dict[str, float]:
    """Of Committed there are two: before and after the old generation is retired."""
    found: dict[str, float] = {}
    for (at, route), (after, _) in pairwise(changes):
        retired = route.phase is Phase.COMMITTED and route.rebuild is not None and route.rebuild.retired
        name = "activate" if retired else "retire" if route.phase is Phase.COMMITTED else str(route.phase).lower()
        found[name] = found.get(name, 0.0) + after - at
    return found


async def _answered_by(operator: Operator, gateways: Sequence[Pod], generation: int | None) -> float:
    async with asyncio.timeout(SWITCH_SECONDS):
        for gateway in gateways:
            while True:
                info = await operator.data_plane.gateway_info(gateway.manifest)
                if info and info.generation == generation:
                    break
                await asyncio.sleep(LOOK_SECONDS)
    return time.monotonic()


async def _until(holds: Callable[[], bool], what: str, seconds: float = LOOK_SECONDS) -> None:
    """Asks every so many seconds. Raises RuntimeError where it never comes."""
    deadline = time.monotonic() + SWITCH_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {SWITCH_SECONDS:.0f} s")
        await asyncio.sleep(seconds)
