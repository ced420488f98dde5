import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from embedding_serving.shard.lane import Lane
from embedding_serving.wire.errors import WireError


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def test_short_work_comes_to_run_on_the_loop_and_long_work_beside_it(executor: ThreadPoolExecutor) -> None:
    lane = Lane(executor)
    assert await _where(lane) != threading.get_ident()
    for _ in range(100):
        await _where(lane)
    assert await _where(lane) == threading.get_ident()
    for _ in range(100):
        await _where(lane, seconds=0.03)
        if await _where(lane, seconds=0.03) != threading.get_ident():
            break
    assert await _where(lane) != threading.get_ident()


async def test_work_that_waits_for_its_turn_is_not_long(executor: ThreadPoolExecutor) -> None:
    lane = Lane(executor)
    assert await _where(lane, seconds=0.004) != threading.get_ident()
    assert lane.unit_seconds is not None
    assert lane.unit_seconds < 0.004


async def test_a_piece_that_is_many_times_larger_runs_beside_the_loop(executor: ThreadPoolExecutor) -> None:
    lane = Lane(executor)
    for _ in range(50):
        await _where(lane, seconds=0.00005)
    assert await _where(lane, units=10_000) != threading.get_ident()


async def test_only_so_many_wait_for_a_thread(executor: ThreadPoolExecutor) -> None:
    lane = Lane(executor, max_waiting=2)
    gate = threading.Event()
    waiting = [asyncio.ensure_future(_awaited(lane, gate)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(WireError, match="overloaded"):
        lane.run(gate.wait)
    gate.set()
    await asyncio.gather(*waiting)
    assert lane.waiting == 0


async def _awaited(lane: Lane, gate: threading.Event) -> bool:
    done = lane.run(gate.wait)
    return done if isinstance(done, bool) else await done


async def _where(lane: Lane, seconds: float = 0.0, units: int = 1) -> int:
    """Thread that the work ran in."""

    def work() -> int:
        time.sleep(seconds)
        return threading.get_ident()

    done = lane.run(work, units)
    return done if isinstance(done, int) else await done
