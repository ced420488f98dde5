"""Questions of one shape go together while others are under way, and never wait while they need not."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from embedding_serving.gateway import together
from embedding_serving.gateway.together import MOST, Together

ROUNDS = 2


class Rounds:
    """Answers a question with itself, ten times as large, when it is let go. asked: the questions of each round."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self._open: list[asyncio.Event] = []
        self._begun = asyncio.Condition()
        self.together: Together[int, int] = Together(self._ask)

    async def _ask(self, questions: Sequence[int]) -> list[int]:
        self.asked.append(list(questions))
        self._open.append(gate := asyncio.Event())
        async with self._begun:
            self._begun.notify_all()
        await gate.wait()
        if 0 in questions:
            raise ValueError(f"{questions}")
        return [10 * one for one in questions]

    def begin(self, *questions: int, shape: str = "a") -> list[asyncio.Task[int]]:
        return [asyncio.create_task(self.together.ask(shape, one, ROUNDS)) for one in questions]

    async def fill(self, shape: str = "a") -> list[asyncio.Task[int]]:
        """As many rounds as may be under way, of one question each."""
        first: list[asyncio.Task[int]] = []
        for number in range(1, ROUNDS + 1):
            first += self.begin(number, shape=shape)
            await self.until(number)
        return first

    def end(self, number: int) -> None:
        self._open[number].set()

    async def until(self, rounds: int) -> None:
        async with asyncio.timeout(5), self._begun:
            await self._begun.wait_for(lambda: len(self.asked) >= rounds)


@asynccontextmanager
async def busy(monkeypatch: pytest.MonkeyPatch, shape: str = "a") -> AsyncIterator[tuple[Rounds, list[asyncio.Task[int]]]]:
    """As many rounds under way as may be, of a question each, and nobody who waits is let go by the clock."""
    monkeypatch.setattr(together, "WAIT_SECONDS", 60)
    rounds = Rounds()
    first = await rounds.fill(shape)
    yield rounds, first
    for number in range(len(rounds.asked)):
        rounds.end(number)
    await asyncio.gather(*first, return_exceptions=True)


async def settled() -> None:
    """What can run has run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_who_comes_in_the_same_moment_goes_together() -> None:
    rounds = Rounds()
    asked = rounds.begin(1, 2, 3)
    await rounds.until(1)
    assert rounds.asked == [[1, 2, 3]]
    rounds.end(0)
    assert await asyncio.gather(*asked) == [10, 20, 30]


async def test_who_need_not_wait_goes_alone_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with busy(monkeypatch) as (rounds, first):
        assert rounds.asked == [[number] for number in range(1, ROUNDS + 1)]
        for number in range(ROUNDS):
            rounds.end(number)
        assert await asyncio.gather(*first) == [10 * number for number in range(1, ROUNDS + 1)]


async def test_who_comes_meanwhile_goes_with_the_next_round_and_has_its_own_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async with busy(monkeypatch) as (rounds, _):
        later = rounds.begin(7, 8, 9)
        await settled()
        assert len(rounds.asked) == ROUNDS
        rounds.end(0)
        await rounds.until(ROUNDS + 1)
        assert rounds.asked[-1] == [7, 8, 9]
        rounds.end(ROUNDS)
        assert await asyncio.gather(*later) == [70, 80, 90]


async def test_shapes_neither_mix_nor_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    async with busy(monkeypatch) as (rounds, _):
        (other,) = rounds.begin(5, shape="b")
        await rounds.until(ROUNDS + 1)
        rounds.end(ROUNDS)
        assert await other == 50


async def test_a_full_round_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with busy(monkeypatch) as (rounds, _):
        later = rounds.begin(*range(100, 100 + MOST), 7)
        await rounds.until(ROUNDS + 1)
        assert rounds.asked[-1] == list(range(100, 100 + MOST))
        rounds.end(ROUNDS)
        assert await asyncio.gather(*later[:-1]) == [10 * one for one in range(100, 100 + MOST)]
        await rounds.until(ROUNDS + 2)
        assert rounds.asked[-1] == [7]
        rounds.end(ROUNDS + 1)
        assert await later[-1] == 70


async def test_slow_rounds_hold_nobody_for_long() -> None:
    rounds = Rounds()
    first = await rounds.fill()
    began = time.monotonic()
    later = rounds.begin(7, 8)
    await rounds.until(ROUNDS + 1)  # though none has ended
    assert time.monotonic() - began >= together.WAIT_SECONDS / 2
    assert rounds.asked[-1] == [7, 8]
    for number in range(ROUNDS + 1):
        rounds.end(number)
    assert await asyncio.gather(*later) == [70, 80]
    await asyncio.gather(*first)


async def test_who_has_left_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async with busy(monkeypatch) as (rounds, _):
        stays, leaves = rounds.begin(7, 8)
        await settled()
        leaves.cancel()
        await settled()
        rounds.end(0)
        await rounds.until(ROUNDS + 1)
        assert rounds.asked[-1] == [7]
        rounds.end(ROUNDS)
        assert await stays == 70


async def test_who_leaves_during_its_round_takes_nobody_along(monkeypatch: pytest.MonkeyPatch) -> None:
    async with busy(monkeypatch) as (rounds, _):
        stays, leaves = rounds.begin(7, 8)
        await settled()
        rounds.end(0)
        await rounds.until(ROUNDS + 1)
        leaves.cancel()
        rounds.end(ROUNDS)
        assert await stays == 70


async def test_all_of_a_round_are_told_why_it_failed_and_the_next_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with busy(monkeypatch) as (rounds, _):
        failing = rounds.begin(7, 0, 8)
        await settled()
        rounds.end(0)
        await rounds.until(ROUNDS + 1)
        (after,) = rounds.begin(9)
        await settled()
        rounds.end(ROUNDS)
        told = await asyncio.gather(*failing, return_exceptions=True)
        assert [str(one) for one in told] == ["[7, 0, 8]"] * 3
        await rounds.until(ROUNDS + 2)
        rounds.end(ROUNDS + 1)
        assert await after == 90


async def test_one_that_fails_alone_makes_room_for_the_next() -> None:
    rounds = Rounds()
    for _ in range(2 * ROUNDS):
        (failing,) = rounds.begin(0)
        await rounds.until(len(rounds.asked) + 1)
        rounds.end(len(rounds.asked) - 1)
        with pytest.raises(ValueError, match="0"):
            await failing
