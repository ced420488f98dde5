"""What an open shard does by itself: lifts an old fence, sequences expiry, forgets what nobody needs, checks its file."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from ..contract.admin import Mode, Refusal
from .ann.index import VectorIndex
from .index_feed import IndexFeed
from .store.records import Refused, StoreCorrupt, StoreError
from .store.state import Fenced, Protocol
from .store.store import Store

T = TypeVar("T")
log = logging.getLogger(__name__)

FENCE_LOOK_SECONDS = 0.1
EXPIRY_SECONDS = 1.0
PURGE_SECONDS = 30.0
INDEX_LOOK_SECONDS = 0.5
WAIT_AFTER_FAILURE_SECONDS = 5.0
SCRUB_SECONDS = 0.5
SCRUB_ROWS = 64
"""At once: a thousandth of a core, and a million rows in two hours."""
CHECK_AGAIN_SECONDS = 86_400.0


class FenceTimer:
    """Runs while an unsealed fence of a shard that was open stands; starts anew with the process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._fence: Fenced | None = None
        self._since = 0.0

    def is_over(self, protocol: Protocol) -> bool:
        fence = protocol.fenced
        if protocol.mode is not Mode.FENCED or protocol.sealed or fence is None or not fence.was_open:
            self._fence = None
            return False
        if fence != self._fence:
            self._fence, self._since = fence, self._clock()
        return self._clock() - self._since >= fence.deadline_seconds


async def keep_house(store: Store, on_damage: Callable[[str], None]) -> None:
    """Until cancelled."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_lift_fences(store))
        tasks.create_task(_check_again(store, on_damage))
        tasks.create_task(_watch_writes(store, on_damage))
        tasks.create_task(_repeat(store.expire, EXPIRY_SECONDS))
        tasks.create_task(_repeat(store.purge, PURGE_SECONDS))
        tasks.create_task(_once(store.index_declared_fields))


async def keep_index(index: VectorIndex, feed: IndexFeed, recall_sample_seconds: float) -> None:
    """Until cancelled. Retries what the index had no room for; compares a recent search with the truth now and then."""
    loop, sampled = asyncio.get_running_loop(), time.monotonic()
    with ThreadPoolExecutor(1, thread_name_prefix="housekeeping") as thread:
        while True:
            await asyncio.sleep(INDEX_LOOK_SECONDS)
            if feed.is_behind:
                await loop.run_in_executor(thread, feed.retry)
            if recall_sample_seconds and time.monotonic() - sampled >= recall_sample_seconds:
                await loop.run_in_executor(thread, index.sample_recall)
                sampled = time.monotonic()


async def _lift_fences(store: Store) -> None:
    timer = FenceTimer()
    while True:
        if timer.is_over(store.state.protocol):
            log.warning("nobody ended the fence in time: taking writes again")
            await _tried(store.lift_fence)
        await asyncio.sleep(FENCE_LOOK_SECONDS)


async def _check_again(store: Store, on_damage: Callable[[str], None]) -> None:
    """Reads all of the file at the start and each day, so that rot is found while another copy still has what it takes."""
    with ThreadPoolExecutor(1, thread_name_prefix="scrub") as thread:
        try:
            while True:
                started = time.monotonic()
                await _tolerant(thread, store.reader.check)
                await _scrub(thread, store)
                await asyncio.sleep(max(SCRUB_SECONDS, started + CHECK_AGAIN_SECONDS - time.monotonic()))
        except StoreCorrupt as error:
            on_damage(str(error))


async def _scrub(thread: ThreadPoolExecutor, store: Store) -> None:
    """Every row and vector, a few at a time. Raises StoreCorrupt."""
    above: int | None = 0
    while above is not None:
        await asyncio.sleep(SCRUB_SECONDS)
        above = await _tolerant(thread, partial(store.reader.scrub, above, SCRUB_ROWS))


async def _tolerant(thread: ThreadPoolExecutor, work: Callable[[], T]) -> T | None:
    """None where the file cannot be read just now. Raises StoreCorrupt."""
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, work)
    except StoreCorrupt:
        raise
    except StoreError as error:
        log.warning("the database could not be checked: %s", error)
        return None


async def _watch_writes(store: Store, on_damage: Callable[[str], None]) -> None:
    """What the writer thread met was told to who asked for the write: that may have been a sweep, or the follower."""
    while True:
        fault = store.fault
        if fault and fault[0] is Refusal.CORRUPT:
            return on_damage(fault[1])
        await asyncio.sleep(FENCE_LOOK_SECONDS)


async def _repeat(sweep: Callable[[], Awaitable[int]], seconds: float) -> None:
    """At once again while there was something to do."""
    while True:
        done = await _tried(sweep)
        await asyncio.sleep(WAIT_AFTER_FAILURE_SECONDS if done is None else 0.01 if done else seconds)


async def _once(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
            return
        except (Refused, StoreError) as error:
            log.warning("a declared field could not be entered yet: %s", error)
            await asyncio.sleep(WAIT_AFTER_FAILURE_SECONDS)


async def _tried(work: Callable[[], Awaitable[T]]) -> T | None:
    try:
        return await work()
    except (Refused, StoreError) as error:
        log.warning("housekeeping waits: %s", error)
        return None
