"""Rows for each second: a pause holds at once, and what is allowed comes in small portions."""

import asyncio

from embedding_serving.shard.pace import BURST_SECONDS, Pace


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def is_held(taking: "asyncio.Task[int]") -> bool:
    for _ in range(20):
        await asyncio.sleep(0)
    return not taking.done()


async def test_without_a_pace_all_is_granted() -> None:
    assert await Pace().take(64) == 64


async def test_a_pause_holds_until_it_ends() -> None:
    pace = Pace()
    pace.tell(0)
    taking = asyncio.create_task(pace.take(64))
    assert await is_held(taking)
    pace.tell(None)
    assert await taking == 64


async def test_a_slow_pace_grants_a_row_at_a_time_and_no_more_than_it_allows() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.tell(2)
    granted = 0
    for _ in range(100):
        clock.now += 0.125
        taking = asyncio.create_task(pace.take(64))
        if await is_held(taking):
            taking.cancel()
        else:
            assert await taking == 1
            granted += 1
    assert granted == 25


async def test_what_was_saved_up_is_no_burst() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.tell(100)
    clock.now += 3_600
    assert await pace.take(64) == round(100 * BURST_SECONDS)
    again = asyncio.create_task(pace.take(64))
    assert await is_held(again)
    again.cancel()


async def test_a_slower_pace_holds_for_what_was_allowed_before() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.tell(1_000)
    clock.now += 1
    pace.tell(4)
    assert await pace.take(64) == 1
