"""How fast rows may be embedded, as the operator told last: applies at once, and in small portions."""

import asyncio
import math
import time
from collections.abc import Callable

BURST_SECONDS = 0.25
"""What is saved up while nothing is asked for."""


class Pace:
    """A token bucket of rows. Belongs to the event loop. rows_per_second: 0 = pause, None = free."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.rows_per_second: float | None = None
        self._clock = clock
        self._saved = 0.0
        self._at = clock()
        self._told = asyncio.Event()

    def tell(self, rows_per_second: float | None) -> None:
        if rows_per_second == self.rows_per_second:
            return
        self._save()
        self.rows_per_second = rows_per_second
        self._told.set()
        self._told = asyncio.Event()

    async def take(self, wanted: int) -> int:
        """Waits until some rows may be embedded; answers how many, from 1 to `wanted`."""
        while (rate := self.rows_per_second) is not None:
            self._save()
            portion = min(wanted, math.floor(self._burst))
            if self._saved >= portion > 0:
                taken = min(wanted, math.floor(self._saved))
                self._saved -= taken
                return taken
            await self._wait((portion - self._saved) / rate if rate else None)
        return wanted

    @property
    def _burst(self) -> float:
        rate = self.rows_per_second
        return max(1.0, rate * BURST_SECONDS) if rate else 0.0

    def _save(self) -> None:
        now = self._clock()
        self._saved = min(self._burst, self._saved + (now - self._at) * (self.rows_per_second or 0.0))
        self._at = now

    async def _wait(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._told.wait()
        except TimeoutError:
            return
