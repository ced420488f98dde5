"""How fast a rebuild may embed while people search: slower at once when searches are slow, faster bit by bit when not.

By half at once, by a quarter more at a time. What was said last lies in the shards, so that nothing is remembered here.
"""

from collections.abc import Iterable, Sequence

from embedding_serving.contract.admin import BuildState, GatewayInfo

DECREASE = 0.5
INCREASE = 1.25
LEAST_ROWS_PER_SECOND = 0.5
CALM = 0.8
"""Of the bound: below this share of it the pace rises."""
FREE = 4.0
"""A pace of so many times what is embedded holds nothing up any more."""


def pace(bound_milliseconds: int | None, gateways: Iterable[GatewayInfo], builds: Sequence[BuildState]) -> float | None:
    """Rows a second that each shard may embed from now on; None = all that the encoders take."""
    known = [one.search_p99_ms for one in gateways if one.search_p99_ms is not None]
    if bound_milliseconds is None or not builds:
        return None
    told = [one.pace for one in builds if one.pace is not None and one.pace > 0]
    now, slowest = (min(told) if told else None), max(known, default=0.0)
    rate = max(one.rows_per_second for one in builds)
    if slowest > bound_milliseconds:
        return max(LEAST_ROWS_PER_SECOND, DECREASE * min(rate, now) if now else DECREASE * rate)
    if now is None:
        return None
    if slowest > CALM * bound_milliseconds:
        return now
    faster = INCREASE * now
    return None if rate and faster > FREE * rate else faster
