"""A queue of keys: each key at most once in it, one worker a key at a time, back-off for those that fail.

`on.event` errors are never retried by kopf, and its handlers of one object do not see another's deletion; so events
only name a key, and everything that must happen again and again is decided here.
"""

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from .metrics import QUEUE_DEPTH, QUEUE_OLDEST_SECONDS

logger = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 300.0


@dataclass(frozen=True, order=True)
class Key:
    """Names one object to look at."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


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
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()

    def add(self, key: Key, delay: float | None = None) -> None:
        """Looks at the key after `delay` seconds, at once where none is given; an earlier appointment stands.

        An event waits a moment: the changes that come with it (a Deployment, its pods) are then one look.
        """
        if key in self._running:
            self._again.add(key)
            return
        due = self._now() + (self._settle_seconds if delay is None else delay)
        if due < self._due.get(key, float("inf")):
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._wake.set()

    async def run(self) -> None:
        """Works for ever; one key that fails or hangs never delays another while workers are left."""
        async with asyncio.TaskGroup() as workers:
            for _ in range(self._concurrency):
                workers.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._next()
            self._running.add(key)
            try:
                again_after = await self._reconcile(key)
                self._failures.pop(key, None)
            except Exception as error:
                again_after = self._backoff(key)
                logger.warning("reconcile of %s failed, again in %.1f s: %s", key, again_after, error, exc_info=_unknown(error))
            finally:
                self._running.discard(key)
            if key in self._again:
                self._again.discard(key)
                if key not in self._failures:
                    again_after = self._settle_seconds
            if again_after is not None:
                self.add(key, again_after)

    async def _next(self) -> Key:
        while True:
            self._observe()
            while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
                heapq.heappop(self._heap)  # superseded by an earlier appointment, or done
            timeout = None
            if self._heap:
                due, key = self._heap[0]
                timeout = due - self._now()
                if timeout <= 0:
                    heapq.heappop(self._heap)
                    del self._due[key]
                    return key
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), timeout)
            except TimeoutError:
                continue

    def _backoff(self, key: Key) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        ceiling = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 20))
        return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    def _observe(self) -> None:
        now = self._now()
        waiting = [due for due in self._due.values() if due <= now]
        QUEUE_DEPTH.set(len(waiting))
        QUEUE_OLDEST_SECONDS.set(now - min(waiting) if waiting else 0)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _unknown(error: Exception) -> bool:
    """Whether the stack is worth printing: errors that carry their own explanation are not programming errors."""
    return type(error).__module__.startswith("builtins")
