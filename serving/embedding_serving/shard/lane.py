"""Where a kind of work runs: at once while it is short, in a thread when it has become long.

A hand-over to a thread and back costs more than a short search takes; a long one on the event loop would hold up every
other connection. What decides is how long the last ones took: by the processor time, which a busy machine stretches
little, unless they waited for a disk.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from typing import TypeVar

from ..wire.errors import OVERLOADED, WireError

T = TypeVar("T")

INLINE_SECONDS = 0.002
"""Of which about half holds the interpreter's lock: with more threads, little more would be done."""
WAITING_SHARE = 0.125
"""What a second of the clock counts: work that waited for its turn is not long, work that waited for a disk is."""
MAX_WAITING = 512
_WEIGHT = 0.1


class Lane:
    """Called on the event loop. `unit_seconds`: the moving average, None until the first piece of work was seen."""

    def __init__(self, executor: Executor, *, max_waiting: int = MAX_WAITING) -> None:
        self.unit_seconds: float | None = None
        self.waiting = 0
        self._executor = executor
        self._max_waiting = max_waiting

    def run(self, work: Callable[[], T], units: int = 1) -> T | Awaitable[T]:
        """units: by how much this piece is larger than the usual. Raises WireError where too many wait for a thread."""
        if self.unit_seconds is not None and self.unit_seconds * units < INLINE_SECONDS:
            return self._timed(work, units)
        if self.waiting >= self._max_waiting:
            raise WireError(OVERLOADED, f"{self.waiting} calls wait for a thread of this shard", retry_after=0.1)
        return self._beside(work, units)

    async def _beside(self, work: Callable[[], T], units: int) -> T:
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, self._timed, work, units)
        finally:
            self.waiting -= 1

    def _timed(self, work: Callable[[], T], units: int) -> T:
        begin, worked = time.perf_counter(), time.thread_time()
        try:
            return work()
        finally:
            used, passed = time.thread_time() - worked, time.perf_counter() - begin
            seconds = max(used, passed * WAITING_SHARE) / units
            known = self.unit_seconds
            self.unit_seconds = seconds if known is None else known + _WEIGHT * (seconds - known)
