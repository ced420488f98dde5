"""What is measured, query by query: one at a time, so that those who search meanwhile hardly notice."""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple, Protocol

from ..contract.reports import Outcome
from ..contract.settings import Check
from ..failure import StartFailed
from ..filters import Filter
from ..gateway.failures import ShardRefused
from ..outgoing.deadline import Deadline
from ..outgoing.failures import EncodingFailed, TextRefused
from .golden import Golden, GoldenQuery
from .side import Hit, Query, Vector

log = logging.getLogger(__name__)

AT = 10
"""Recall and overlap are of the first ten, as everywhere in this project."""
EQUAL = 1e-5
"""Of equal vectors any will do, so recall goes by score; scores of one vector differ by rounding."""
QUERY_CHARACTERS = 512
"""A query is shorter than most documents: the start of one stands for it."""
FEWEST_QUERIES = 20
"""Fewer say nothing, unless no more were asked for."""
WARM_UP_QUERIES = 3
OUTLIERS = 0.05
"""The slowest answers of either side, which a pause of the machine has made; the gate remembers a refusal."""


class Answering(Protocol):
    """A generation."""

    async def vector_of(self, query: Query) -> Vector | None: ...

    async def near(self, vector: Vector, k: int, filter_: Filter | None = None, *, exact: bool = False) -> list[Hit]: ...

    async def known(self, ids: Sequence[str]) -> set[str]: ...

    async def query_of(self, id_: str, characters: int) -> Query | None: ...


class Compared(NamedTuple):
    """What queries made of documents have shown; None = not asked for, or nothing to ask with."""

    queries: int
    recall: float | None
    overlap: float | None
    latency_increase_percent: float | None


class GoldenFound(NamedTuple):
    """hit: share of `queries`, which are those without a fault."""

    queries: int
    hit: float | None
    faults: tuple[str, ...]
    missed: tuple[str, ...]


@dataclass(slots=True)
class _Tally:
    queries: int = 0
    recalls: list[float] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)
    blue_seconds: list[float] = field(default_factory=list)
    green_seconds: list[float] = field(default_factory=list)


class _Answer(NamedTuple):
    hits: list[Hit]
    vector: Vector
    seconds: float


async def compare(
    blue: Answering, green: Answering, ids: Sequence[str], checks: frozenset[Check], deadline: Deadline
) -> Compared:
    """Queries made of these documents of blue, until the deadline. Raises StartFailed where that is too soon."""
    tally, broken = _Tally(), ""
    steps = max(1, len(ids) // 10)
    for number, id_ in enumerate(ids):
        if deadline.passed:
            break
        query = await blue.query_of(id_, QUERY_CHARACTERS)
        if query is None:
            continue
        try:
            if not tally.queries and Check.LATENCY in checks:
                await _warm_up(blue, green, query)
            await _one(blue, green, query, checks, tally)
        except (TextRefused, EncodingFailed) as error:
            log.info("a document makes no query", extra={"id": id_, "reason": error.detail})
            broken = error.detail if isinstance(error, EncodingFailed) else broken
        if (number + 1) % steps == 0:
            log.info("measured", extra={"queries": tally.queries, "documents": number + 1, "of": len(ids)})
    too_few = tally.queries < min(FEWEST_QUERIES, len(ids))
    if broken and too_few:  # not these texts: the encoder
        raise StartFailed(Outcome.UNAVAILABLE, broken)
    if deadline.passed and too_few:
        detail = f"{tally.queries} of {len(ids)} queries were answered when the time was over: they answer too slowly"
        raise StartFailed(Outcome.UNAVAILABLE, detail)
    return Compared(
        tally.queries,
        _mean(tally.recalls),
        _mean(tally.overlaps),
        _increase_percent(tally.blue_seconds, tally.green_seconds),
    )


async def find_golden(blue: Answering, green: Answering, golden: Golden, deadline: Deadline) -> GoldenFound:
    """Raises StartFailed where the time is over before all were asked."""
    faults, missed, hits = list(golden.faults), [], 0
    for number, one in enumerate(golden.queries):
        if deadline.passed:
            detail = f"{number} of {len(golden.queries)} golden queries were asked when the time was over: keep fewer of them"
            raise StartFailed(Outcome.UNAVAILABLE, detail)
        try:
            missing = await _missing(green, one)
        except (TextRefused, ShardRefused) as error:
            faults.append(f"line {one.line}: {error.detail}")
            continue
        unknown = [id_ for id_ in missing if id_ not in await green.known([id_]) and id_ not in await blue.known([id_])]
        if unknown:
            faults.append(f"line {one.line}: there is no document {unknown[0]!r}")
        elif missing:
            missed.append(f"line {one.line}: {missing[0]!r} is not among the first {one.k}")
        else:
            hits += 1
    asked = hits + len(missed)
    log.info("golden queries", extra={"hits": hits, "of": asked, "faults": len(faults)})
    return GoldenFound(asked, hits / asked if asked else None, tuple(faults), tuple(missed))


async def _one(blue: Answering, green: Answering, query: Query, checks: frozenset[Check], tally: _Tally) -> None:
    """In turns blue or green is asked first: what the one warms up helps the other."""
    both = bool(checks & {Check.OVERLAP, Check.LATENCY})
    first = await _answer(blue, query) if both and tally.queries % 2 == 0 else None
    new = await _answer(green, query)
    old = first or (await _answer(blue, query) if both else None)
    tally.queries += 1
    if Check.RECALL in checks and new is not None:
        true = await green.near(new.vector, AT, exact=True)
        if true:
            tally.recalls.append(_recall(new.hits, true))
    if old is None or new is None:
        return
    if Check.OVERLAP in checks and old.hits:
        tally.overlaps.append(len({hit.id for hit in old.hits} & {hit.id for hit in new.hits}) / len(old.hits))
    if Check.LATENCY in checks:
        tally.blue_seconds.append(old.seconds)
        tally.green_seconds.append(new.seconds)


async def _warm_up(blue: Answering, green: Answering, query: Query) -> None:
    for _ in range(WARM_UP_QUERIES):
        await _answer(blue, query)
        await _answer(green, query)


async def _answer(side: Answering, query: Query) -> _Answer | None:
    """As a client waits for it: the embedding too. None where the model makes zeros of the text."""
    begun = time.perf_counter()
    vector = await side.vector_of(query)
    if vector is None:
        return None
    hits = await side.near(vector, AT)
    return _Answer(hits, vector, time.perf_counter() - begun)


async def _missing(green: Answering, one: GoldenQuery) -> list[str]:
    vector = await green.vector_of(one.query)
    if vector is None:
        return list(one.ids)
    found = {hit.id for hit in await green.near(vector, one.k, one.filter_)}
    return [id_ for id_ in one.ids if id_ not in found]


def _recall(found: Sequence[Hit], true: Sequence[Hit]) -> float:
    worst = true[-1].score
    return sum(hit.score >= worst - EQUAL * abs(worst) for hit in found) / len(true)


def _mean(shares: Sequence[float]) -> float | None:
    return round(fmean(shares), 6) if shares else None


def _increase_percent(blue: Sequence[float], green: Sequence[float]) -> float | None:
    if not blue:
        return None
    return round(100 * (_typical(green) / _typical(blue) - 1), 1)


def _typical(seconds: Sequence[float]) -> float:
    """Mean without the outliers."""
    return fmean(sorted(seconds)[: math.ceil(len(seconds) * (1 - OUTLIERS))])
