"""Which build is due: a pure decision over a few numbers."""

from dataclasses import dataclass

from ...contract.index import IndexOptions, IndexType
from .engines import EngineSpec
from .errors import UnsupportedIndexTypeError
from .limits import Limits

TINY_DIMENSIONS = 8
"""Vectors as short as this are scanned: codes of them would be no shorter."""
BACK_TO_FLAT = 2 / 3
"""Auto drops inverted lists only well below the size at which it takes them, so that it doesn't swing."""
OPPORTUNE_DEAD_SHARE = 0.1
OVERDUE = 2.0


@dataclass(frozen=True, slots=True)
class Facts:
    """slots: of the vectors file, dead ones included. indexed: those that the engine was built of. quiet: none came lately."""

    slots: int
    dead: int
    dimensions: int
    spec: EngineSpec | None
    indexed: int
    target_recall_percent: int | None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """urgent: not to be put off after a build that has just ended."""

    spec: EngineSpec | None
    compact: bool
    urgent: bool
    reason: str


def check(options: IndexOptions) -> None:
    """Raises UnsupportedIndexTypeError."""
    if options.type is IndexType.SCANN:
        known = ", ".join(sorted(one for one in IndexType if one is not IndexType.SCANN))
        raise UnsupportedIndexTypeError(f"type ScaNN is not built into shards; use one of {known}")


def wanted(options: IndexOptions, facts: Facts, limits: Limits) -> EngineSpec | None:
    """The engine for so many rows; None = none, they are scanned. Raises UnsupportedIndexTypeError."""
    check(options)
    live = facts.slots - facts.dead
    if options.type is IndexType.FLAT or facts.dimensions <= TINY_DIMENSIONS or live <= limits.exact_rows:
        return None
    if options.type is not IndexType.AUTO:
        return EngineSpec.of(options.type, options)
    stays = facts.spec is not None and facts.spec.type is IndexType.IVF_PQ and live > limits.flat_rows * BACK_TO_FLAT
    lists = live > limits.flat_rows or stays
    return EngineSpec.of(IndexType.IVF_PQ if lists else IndexType.PQ_FAST_SCAN, options)


def due(options: IndexOptions, facts: Facts, limits: Limits) -> Due | None:
    """The next build, if one is due."""
    spec = wanted(options, facts, limits)
    dead_share = facts.dead / max(1, facts.slots)
    many_dead = facts.dead >= limits.dead_rows_min
    if many_dead and dead_share > limits.dead_share:
        overdue = dead_share > min(0.9, OVERDUE * limits.dead_share)
        return Due(spec, True, overdue, f"{facts.dead} of {facts.slots} rows are dead")
    if spec is None:
        return None
    compact = many_dead and dead_share > OPPORTUNE_DEAD_SHARE
    if facts.spec is None:
        return Due(spec, compact, True, f"{facts.slots} rows have no index")
    if facts.spec != spec:
        other = f"{facts.spec.type} is to become {spec.type}" if facts.spec.type != spec.type else "options changed"
        return Due(spec, compact, True, other)
    if facts.target_recall_percent != options.target_recall_percent:
        return Due(spec, compact, True, "the recall to reach changed")
    grown = facts.slots - facts.indexed
    room = min(limits.growth_rows_max, max(limits.growth_rows_min, facts.indexed))
    if grown > room:
        return Due(spec, compact, grown > OVERDUE * room, f"{grown} rows came since the last build")
    if facts.quiet and grown > max(limits.quiet_growth_rows_min, limits.quiet_growth_share * facts.indexed):
        return Due(spec, compact, False, f"{grown} rows came since the last build, and no more do")
    return None
