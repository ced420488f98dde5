"""A rebuild gives way to searches, and takes what they leave."""

import pytest

from embedding_operator.plan.brake import LEAST_ROWS_PER_SECOND, pace
from embedding_serving.contract.admin import BuildState, GatewayInfo

BOUND = 100


def gateway(p99: float | None) -> GatewayInfo:
    return GatewayInfo(service="docs", index="docs", search_p99_ms=p99)


def shard(rate: float, told: float | None) -> BuildState:
    return BuildState(rows_per_second=rate, pace=told)


@pytest.mark.parametrize(
    ("p99", "rate", "told", "expected"),
    [
        (None, 80.0, None, None),
        (50.0, 80.0, None, None),
        (150.0, 80.0, None, 40.0),
        (150.0, 38.0, 40.0, 19.0),
        (150.0, 0.0, None, LEAST_ROWS_PER_SECOND),
        (90.0, 38.0, 40.0, 40.0),
        (50.0, 38.0, 40.0, 50.0),
        (50.0, 10.0, 40.0, None),
    ],
)
def test_slower_at_once_and_faster_bit_by_bit(
    p99: float | None, rate: float, told: float | None, expected: float | None
) -> None:
    assert pace(BOUND, [gateway(p99)], [shard(rate, told)]) == expected


def test_without_a_bound_nothing_holds_it_back() -> None:
    assert pace(None, [gateway(900.0)], [shard(80.0, 3.0)]) is None


def test_the_slowest_gateway_counts() -> None:
    assert pace(BOUND, [gateway(20.0), gateway(300.0), gateway(None)], [shard(80.0, None)]) == 40.0
