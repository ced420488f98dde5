"""A number that only rises, and those who wait for it to reach theirs."""

import asyncio
from collections.abc import Callable


class Watermark:
    """`value` may be read anywhere; the rest belongs to the event loop, apart from `moved`."""

    def __init__(self, value: Callable[[], int]) -> None:
        self.value = value
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def moved(self) -> None:
        """From any thread: looks who has waited long enough."""
        if self._waiting:
            self._loop.call_soon_threadsafe(self._wake)

    async def reach(self, position: int) -> None:
        """Returns when `value()` is at `position` or beyond; the caller brings the deadline."""
        if self.value() >= position:
            return
        future = self._loop.create_future()
        entry = (position, future)
        self._waiting.append(entry)
        try:
            if self.value() < position:  # again: it may have moved before we were on the list
                await future
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def _wake(self) -> None:
        reached = self.value()
        for position, future in self._waiting:
            if position <= reached and not future.done():
                future.set_result(None)
        self._waiting = [entry for entry in self._waiting if not entry[1].done()]
