"""Polling is bounded: what pods measure is asked for less often where there are many objects."""

import math

import pytest

from embedding_operator.lanes import Key
from embedding_operator.polls import POLLS_PER_SECOND, Polls


def key(number: int) -> Key:
    return Key("VectorIndex", "t", f"i{number}")


def test_a_few_objects_are_polled_as_often_as_they_want() -> None:
    polls = Polls()
    assert [polls.again(key(n), None, 30.0) for n in range(100)] == [30.0] * 100
    assert polls.again(key(0), 0.2, 30.0) == 0.2
    assert polls.again(key(0), None, None) is None


def test_many_share_a_rate_in_proportion() -> None:
    polls = Polls()
    for _ in range(2):
        waits = [polls.again(key(n), None, 3.0 if n == 0 else 30.0) or 0 for n in range(1_000)]
    assert sum(1 / wait for wait in waits) == pytest.approx(POLLS_PER_SECOND, rel=0.01)
    assert waits[1] == pytest.approx(10 * waits[0], rel=0.02)
    for n in range(1, 1_000):
        polls.forget(key(n))
    assert polls.again(key(0), None, 3.0) == pytest.approx(3.0)


def test_numbers_are_written_now_and_then() -> None:
    now = 0.0
    polls = Polls(lambda: now)
    assert polls.numbers_age(key(1)) == math.inf
    polls.numbers_written(key(1))
    now = 7.0
    assert polls.numbers_age(key(1)) == 7.0
