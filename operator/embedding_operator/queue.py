"""A queue of keys: each key at most once in it, one worker a key at a time, back-off for those that fail.

`on.event` errors are never retried by kopf, and its handlers of one object do not see another's deletion; so events
only name a key, and everything that must happen again and again is decided here.
"""

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable

from .lanes import Key, Lanes
from .metrics import QUEUE_DEPTH, QUEUE_OLDEST_SECONDS

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 300.0


Reconcile = Callable[[Key], Awaitable[float | None]]
"""Looks at one object; answers when to look again, in seconds, or None where an event will tell."""


class WorkQueue:
    """Events arrive by `add`; `run` works on them until it is cancelled."""

    def __init__(self, reconcile: Reconcile, concurrency: int, settle_seconds: float = 0.05) -> None:
        self._reconcile = reconcile
        self._concurrency = concurrency
        self._settle_seconds = settle_seconds
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._changed: set[Key] = set()
        self._lanes = Lanes(concurrency)
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: Key, delay: float | None = None) -> None:
        """Looks at the key after `delay` seconds; where none is given, something has changed and it is as soon as can be.

        An earlier appointment stands. A change waits a moment: those that come with it (a Deployment, its pods) are then
        one look. A key that is being looked at is looked at again.
        """
        if self._lanes.runs(key):
            self._again.add(key)
            return
        changed = delay is None and key not in self._failures
        if key in self._lanes:
            if changed:
                self._lanes.put(key, self._now(), changed=True)
            return
        if changed:
            self._changed.add(key)
        due = self._now() + (self._settle_seconds if delay is None else delay)
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._wake.set()

    async def run(self) -> None:
        """Works for ever; one key that fails or hangs never delays another while workers are left."""
        QUEUE_DEPTH.set_function(lambda: self._lanes.waiting()[0])
        QUEUE_OLDEST_SECONDS.set_function(self._oldest_seconds(asyncio.get_running_loop()))
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._concurrency):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._next()
            try:
                again_after = await self._reconcile(key)
                self._failures.pop(key, None)
            except Exception as error:
                again_after = self._backoff(key)
                logger.warning("reconcile of %s failed, again in %.1f s: %s", key, again_after, error, exc_info=_unknown(error))
            finally:
                self._lanes.done(key)
                self._wake.set()
            if key in self._again:
                self._again.discard(key)
                if key not in self._failures:
                    again_after = None
                    self.add(key)
            if again_after is not None:
                self.add(key, again_after)

    async def _next(self) -> Key:
        while True:
            next_due = self._move_due()
            key = self._lanes.take()
            if key is not None:
                return key
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), next_due - self._now() if next_due else None)
            except TimeoutError:
                continue

    def _move_due(self) -> float | None:
        """Puts what is due in line; answers when the next will be."""
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) == due:
                if due > self._now():
                    return due
                del self._due[key]
                self._lanes.put(key, due, changed=key in self._changed)
                self._changed.discard(key)
            heapq.heappop(self._heap)  # in line now, or superseded by an earlier appointment
        return None

    def _backoff(self, key: Key) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        ceiling = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 20))
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    def _oldest_seconds(self, loop: asyncio.AbstractEventLoop) -> Callable[[], float]:
        def seconds() -> float:
            since = self._lanes.waiting()[1]
            return 0.0 if since is None else loop.time() - since

        return seconds

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _unknown(error: Exception) -> bool:
    """Whether the stack is worth printing: errors that carry their own explanation are not programming errors."""
    return type(error).__module__ == "builtins"
