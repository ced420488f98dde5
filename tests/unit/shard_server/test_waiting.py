import asyncio
import threading

from embedding_serving.contract.admin import Mode
from embedding_serving.shard.housekeeping import FenceTimer
from embedding_serving.shard.store.state import Fenced, Protocol
from embedding_serving.shard.watermark import Watermark


async def test_those_who_wait_are_woken_by_another_thread_as_far_as_it_came() -> None:
    value = 0
    mark = Watermark(lambda: value)
    tasks = [asyncio.create_task(mark.reach(position)) for position in (1, 2, 3)]
    await asyncio.sleep(0)

    def move() -> None:
        nonlocal value
        value = 2
        mark.moved()

    thread = threading.Thread(target=move)
    thread.start()
    thread.join()
    await asyncio.gather(*tasks[:2])
    assert not tasks[2].done()
    tasks[2].cancel()
    await asyncio.gather(tasks[2], return_exceptions=True)
    assert not mark.waiting
    await mark.reach(2)


def test_a_fence_is_over_after_its_deadline_only_if_the_shard_was_open_and_nobody_sealed() -> None:
    now = 0.0
    timer = FenceTimer(lambda: now)
    fence = Fenced(epoch=2, position=0, deadline_seconds=10, was_open=True)
    fenced = Protocol(history="h", epoch=2, mode=Mode.FENCED, fenced=fence)
    assert not timer.is_over(fenced)
    now = 9.0
    assert not timer.is_over(fenced)
    now = 10.0
    assert timer.is_over(fenced)
    assert not timer.is_over(fenced.model_copy(update={"sealed": True}))
    assert not timer.is_over(fenced.model_copy(update={"fenced": fence.model_copy(update={"was_open": False})}))


def test_a_fence_that_is_put_up_again_has_its_whole_time() -> None:
    now = 0.0
    timer = FenceTimer(lambda: now)
    fence = Fenced(epoch=2, position=0, deadline_seconds=10, was_open=True)
    timer.is_over(Protocol(history="h", epoch=2, mode=Mode.FENCED, fenced=fence))
    now = 9.0
    again = Protocol(history="h", epoch=3, mode=Mode.FENCED, fenced=fence.model_copy(update={"epoch": 3}))
    assert not timer.is_over(again)
    now = 18.0
    assert not timer.is_over(again)
    now = 19.0
    assert timer.is_over(again)
